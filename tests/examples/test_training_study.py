"""The training study on a tiny policy: its methods, its resuming, and the arithmetic of its table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft", reason="needs peft: pip install 'asr-data[train]'")

from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from examples.training_study import run
from examples.training_study.data import SIDES, Pair, read_pairs, unique_prompts, write_pairs
from examples.training_study.methods import METHODS, masks_of
from examples.training_study.report import report

TEXTS = [("Name a colour.", "Blue. The sky has it.", "Seven."), ("Is it open?", "The Café is open.", "That is all.")]
SETTINGS = run.Settings(epochs=2, batch=3, micro_batch=2, rank=2, new_tokens=4, learning_rate=1e-2)


@pytest.fixture
def bundle(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> Path:
    """Four pairs to train on and two held out; in each response every second token is kept."""
    tokenizer = make_tokenizer("byte_level").hf
    pairs = []
    for row in range(4):
        prompt, *responses = TEXTS[row % 2]
        text = dict(zip(SIDES, responses, strict=True))
        ids = {side: tokenizer(own)["input_ids"] for side, own in text.items()}
        pairs.append(
            Pair(
                row=row,
                group=str(row),
                prompt=[{"role": "user", "content": prompt}],
                prompt_ids=tokenizer(prompt)["input_ids"],
                text=text,
                ids=ids,
                mask={side: [place % 2 == 0 for place in range(len(own))] for side, own in ids.items()},
            )
        )
    write_pairs(tmp_path / "bundle", "train", pairs)
    write_pairs(tmp_path / "bundle", "held_out", pairs[:2])
    return tmp_path / "bundle"


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_policy: tuple[Any, Any]) -> None:
    """A random Llama in place of the policy."""
    model, tokenizer = tiny_policy
    monkeypatch.setattr(run, "load_base", lambda device, _policy: (model.to(device), tokenizer))


def test_pairs_are_read_as_they_were_written(bundle: Path) -> None:
    pairs = read_pairs(bundle, "train", 100)
    assert [pair.row for pair in pairs] == [0, 1, 2, 3]
    assert pairs[0].prompt == [{"role": "user", "content": "Name a colour."}]
    assert pairs[0].mask["chosen"][:3] == [True, False, True]
    assert read_pairs(bundle, "train", min(pair.length for pair in pairs) - 1) == []
    assert [pair.row for pair in unique_prompts(pairs, 9)] == [0, 1]


def test_turned_masks_keep_as_many_tokens(bundle: Path) -> None:
    pairs = read_pairs(bundle, "train", 100)
    turned = masks_of(pairs, METHODS["adpo-turned"], seed=0)
    for side, masks in turned.items():
        assert [sum(mask) for mask in masks] == [sum(pair.mask[side]) for pair in pairs]
    assert turned != masks_of(pairs, METHODS["adpo"], seed=0)
    assert all(all(mask) for mask in masks_of(pairs, METHODS["dpo"], seed=0)["chosen"])


def test_a_study_goes_on_where_it_was_stopped(bundle: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    methods = ["base", "dpo", "adpo", "rs", "ars"]
    run.train_all(bundle, runs, SETTINGS, methods, [0], "cpu", minutes=0)
    assert list(runs.iterdir()) == []
    run.train_all(bundle, runs, SETTINGS, methods, [0], "cpu", minutes=60)
    found = {path.stem: json.loads(path.read_text()) for path in runs.iterdir()}
    assert set(found) == {f"{name}-0" for name in methods}
    (runs / "dpo-0.json").write_text(json.dumps(found["dpo-0"] | {"device": "before"}))
    run.train_all(bundle, runs, SETTINGS, [*methods, "adpo-detach"], [0], "cpu", minutes=60)
    assert json.loads((runs / "dpo-0.json").read_text())["device"] == "before"
    assert (runs / "adpo-detach-0.json").exists()
    with pytest.raises(SystemExit, match="other settings"):
        run.train_all(bundle, runs, run.Settings(), methods, [0], "cpu", minutes=60)
    base = found["base-0"]
    assert base["curve"] == []
    assert all(pair[side][kind] == 0 for pair in base["pairs"] for side in SIDES for kind in ("all", "kept"))
    assert len(base["samples"]) == 2
    assert found["dpo-0"]["curve"][0] == pytest.approx(0.6931, abs=1e-3)  # log 2: policy and reference are the same
    assert found["dpo-0"]["curve"][1:] != found["adpo-0"]["curve"][1:]
    assert found["rs-0"]["curve"] != found["ars-0"]["curve"]


def test_masks_that_keep_all_change_nothing(bundle: Path, tmp_path: Path) -> None:
    pairs = read_pairs(bundle, "train", 100)
    for pair in pairs:
        for mask in pair.mask.values():
            mask[:] = [True] * len(mask)
    write_pairs(bundle, "train", pairs)
    study = run.Study(bundle, SETTINGS, "cpu")
    for masked, plain in (("adpo", "dpo"), ("adpo-detach", "dpo"), ("ars", "rs")):
        assert study.run(masked, 1)["curve"] == study.run(plain, 1)["curve"]


def brevity(_: Any, response: str) -> list[tuple[int, int, float]]:
    """Better the shorter; the first half better than the second."""
    middle = len(response) // 2
    return [(0, middle, 1.0 - len(response)), (middle, len(response), -float(len(response)))]


def falling(_: Any, response: str) -> list[tuple[int, int, float]]:
    """Better the shorter; the first half far better than the second, with noise small enough for a cut between them."""
    length = len(response)
    return [(at, at + 1, (9.0 if 2 * at < length else -9.0) - length + at % 2 / 10) for at in range(length)]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_on_line(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    online = pytest.importorskip("examples.training_study.online", reason="needs trl: pip install 'asr-data[train]'")
    info = ScorerInfo(name="falling", kind="rule", form="value", fingerprint="0" * 64)
    monkeypatch.setattr(online, "load_scorer", lambda _, scoring: RuleScorer(falling, info))
    study = run.Study(bundle, replace(SETTINGS, batch=8, online_steps=2, new_tokens=6, win_rate_every=1), "cpu")
    names = ("grpo", "appo", "online-dpo", "online-adpo", "online-rs", "online-ars")
    results = {name: study.run(name, 0) for name in names}
    for result in results.values():
        assert len(result["curve"]) == 2
        assert any(pair["chosen"]["all"] != 0 for pair in result["pairs"])  # it learned something
        assert [entry["step"] for entry in result["win_rate"]] == [0, 1, 2]
        assert result["win_rate"][0]["policy/win_ratio"] == 0.5  # the base against itself
    for plain, masked in (("grpo", "appo"), ("online-dpo", "online-adpo"), ("online-rs", "online-ars")):
        assert results[plain]["curve"][0] == results[masked]["curve"][0]  # the same answers, before any step
        assert results[plain]["pairs"] != results[masked]["pairs"]
        kept = [entry["mask/kept"] for entry in results[masked]["log"]]
        assert len(kept) == 2
        assert all(0 < share < 1 for share in kept)
    assert all("kl" in entry for entry in results["online-ars"]["log"])
    assert results["grpo"]["cpu_seconds"]["all"] > 0


def test_an_answer_without_text_gets_the_lowest_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    online = pytest.importorskip("examples.training_study.online", reason="needs trl: pip install 'asr-data[train]'")
    scorer = RuleScorer(brevity, ScorerInfo(name="brevity", kind="rule", form="value", fingerprint="0" * 64))
    prompt = [{"role": "user", "content": "Why?"}]
    # Means over tokens of a rule's spans: −1 and −2 of "ab", −3 and −4 of "abcd".
    assert online.answer_rewards(scorer, [prompt] * 3, ["ab", " ", "abcd"]) == [-1.5, -3.5, -3.5]
    assert online.answer_rewards(scorer, [prompt], [" "]) == [0.0]


def made_up(method: str, seed: int, margins: list[float]) -> dict[str, Any]:
    """A result with one pair and one sample for each margin; question i has margin i."""
    return {
        "method": method,
        "seed": seed,
        "settings": {"epochs": 1},
        "device": "cpu",
        "train_pairs": 4,
        "pairs": [
            {"group": str(i), "chosen": {"all": m, "kept": m}, "rejected": {"all": 0.0, "kept": 1.0}}
            for i, m in enumerate(margins)
        ],
        "samples": [{"group": str(i), "tokens": 3, "ended": i == 0} for i in range(len(margins))],
    }


def test_the_table_by_hand(tmp_path: Path) -> None:
    given = {("dpo", 0): [1.0, -1.0], ("dpo", 1): [1.0, 0.0], ("adpo", 0): [2.0, 1.0], ("adpo", 1): [3.0, 1.0]}
    for (method, seed), margins in given.items():
        (tmp_path / f"{method}-{seed}.json").write_text(json.dumps(made_up(method, seed, margins)))
    (tmp_path / "rs-0.json").write_text(json.dumps(made_up("rs", 0, [1.0, 1.0])))
    rewards = {f"{method}-{seed}": [0.5, None] for method, seed in [*given, ("rs", 0)]}
    scored = {"scorer": "judge", "pairs": [{"group": "0", "chosen": 2.0, "rejected": 1.0}], "samples": rewards}
    (tmp_path / "rewards-judge.json").write_text(json.dumps(scored))
    text = report(tmp_path)
    assert "| adpo − dpo | 0, 1 |" in text
    assert "| rs | 0 |" in text
    cells = {line.split(" | ")[0].strip("| "): re.findall(r"([-+]?\d\.\d{3}) \(", line) for line in text.splitlines()}
    # pairs right, margin, pairs right over kept tokens, chosen, reward, tokens, ended; a margin of 0 is half right
    assert cells["dpo"] == ["0.625", "0.250", "0.250", "0.250", "0.500", "3.000", "0.500"]
    assert cells["adpo"] == ["1.000", "1.750", "0.750", "1.750", "0.500", "3.000", "0.500"]
    assert cells["adpo − dpo"] == ["+0.375", "+1.500", "+0.500", "+1.500", "+0.000", "+0.000", "+0.000"]
    assert cells["rs"] == ["1.000", "1.000", "0.500", "1.000", "0.500", "3.000", "0.500"]
    (tmp_path / "ars-0.json").write_text(json.dumps(made_up("ars", 0, [2.0, 1.0])))
    (tmp_path / "ars-1.json").write_text(json.dumps(made_up("ars", 1, [9.0, 9.0])))
    scored["samples"] = rewards | {"ars-0": [0.5, None], "ars-1": [9.0, None]}
    (tmp_path / "rewards-judge.json").write_text(json.dumps(scored))
    [line] = [line for line in report(tmp_path).splitlines() if line.startswith("| ars − rs")]
    # Over seed 0, which both have: margins 1.5 and 1.0; kept tokens 0.75 and 0.5; rewards 0.5 and 0.5.
    assert line.startswith("| ars − rs | 0 | +0.000 ")
    assert re.findall(r"([-+]\d\.\d{3}) \(", line) == [
        "+0.000",
        "+0.500",
        "+0.250",
        "+0.500",
        "+0.000",
        "+0.000",
        "+0.000",
    ]
    assert "judge: mean token reward ranks 1.000 of 1 held-out pairs" in text


def test_what_happened_on_line_by_hand(tmp_path: Path) -> None:
    log = [{"mask/kept": 0.5, "mask/scored": 1.0}, {"mask/kept": 0.25, "mask/scored": 0.5}]
    of_run = {"curve": [1.0, 2.0, 4.0, 8.0], "cpu_seconds": {"training": 6.0, "all": 7.0}}
    for method, entries in (("online-dpo", [{"loss": 1.0}]), ("online-adpo", log)):
        result = made_up(method, 0, [1.0]) | of_run | {"log": entries}
        (tmp_path / f"{method}-0.json").write_text(json.dumps(result))
    lines = report(tmp_path).splitlines()
    assert "| online-dpo | 0 | 4 |  |  | 1.000, 8.000 | 1.5 |" in lines
    assert "| online-adpo | 0 | 4 | 0.38 | 0.75 | 1.000, 8.000 | 1.5 |" in lines
    assert any(line.startswith("| online-adpo − online-dpo | 0 |") for line in lines)
