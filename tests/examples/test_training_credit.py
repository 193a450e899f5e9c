"""Where the credit goes: arms on a tiny policy, the budget, resuming, and the arithmetic of the tables."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

pytest.importorskip("peft", reason="needs peft: pip install 'asr-data[train]'")

from asr_data.config import FixedBaseline, MaskConfig, SoftWeights, Token
from asr_data.training.split import hold_out
from examples.training_study import credit, ladder
from examples.training_study.credit_data import prepare_arms, read_marked
from examples.training_study.credit_report import credit_report, ladder_report
from examples.training_study.credit_wins import wins_report
from examples.training_study.data import SIDES, annotated_pairs
from examples.training_study.policy import Policy
from examples.training_study.upper import LowerStates, target_log_probabilities, upper_log_probabilities
from tests.export.conftest import Workshop, columns

TEXTS = [
    ("Name a colour.", "Blue. The sky has it.", "Seven. Or so."),
    ("Is it open?", "The Café is open.", "That is all."),
]
SETTINGS = credit.CreditSettings(
    rows=4, held_out=2, epochs=2, batch=2, micro_batch=2, rank=2, layers=1, learning_rate=1e-2
)


@pytest.fixture
def bundle(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> Path:
    """Four pairs to train on, two unseen; of rejected sides the second half is faulty, and gold weights are there."""
    tokenizer = make_tokenizer("byte_level").hf
    lines = []
    for row in range(4):
        prompt, *responses = TEXTS[row % 2]
        text = dict(zip(SIDES, responses, strict=True))
        ids = {side: tokenizer(own)["input_ids"] for side, own in text.items()}
        half = len(ids["rejected"]) // 2
        faulty = {
            "chosen": [None] * len(ids["chosen"]),
            "rejected": [place >= half for place in range(len(ids["rejected"]))],
        }
        gold = {"chosen": [1.0] * len(ids["chosen"]), "rejected": [float(bad) for bad in faulty["rejected"]]}
        record = {
            "row": row,
            "group": str(row),
            "prompt": [{"role": "user", "content": prompt}],
            "text": text,
            "ids": ids,
        }
        record |= {"prompt_ids": tokenizer(prompt)["input_ids"], "faulty": faulty, "weights": {"gold": gold}}
        lines.append(json.dumps(record) + "\n")
    (tmp_path / "train.jsonl").write_text("".join(lines))
    (tmp_path / "test.jsonl").write_text("".join(lines[:2]))
    return tmp_path


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_policy: tuple[Any, Any]) -> None:
    """A random Llama in place of the policy."""
    model, tokenizer = tiny_policy
    monkeypatch.setattr(credit, "load_base", lambda device, _policy: (model.to(device), tokenizer))


@pytest.fixture
def deep(tiny_policy: tuple[Any, Any]) -> tuple[Any, Any]:
    """A random Llama of four layers."""
    config = copy.deepcopy(tiny_policy[0].config)
    config.num_hidden_layers = 4
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval().requires_grad_(False), tiny_policy[1]


def test_arms(bundle: Path) -> None:
    marked = read_marked(bundle, "train", 200)
    gold = credit.arm_weights(marked, "gold", 0)
    turned = credit.arm_weights(marked, "gold-turned", 0)
    assert gold["rejected"] == [one.weights["gold"]["rejected"] for one in marked]
    assert [sorted(own) for own in turned["rejected"]] == [sorted(own) for own in gold["rejected"]]
    assert turned != gold
    assert all(all(own) for own in credit.arm_weights(marked, "dpo", 0)["rejected"])
    assert credit.kept_share(marked, credit.arm_weights(marked, "dpo", 0)) == {"chosen": 1.0, "rejected": 1.0}


def test_arms_of_annotated_directories(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> None:
    workshop = Workshop(tmp_path, make_tokenizer("byte_level"))
    rows = [
        {"prompt": f"Question {n}?", "chosen": f"Yes, {n}. It is so.", "rejected": f"No. Wrong is {n}."}
        for n in range(12)
    ]
    gold = workshop.annotate(rows, "gold", mask=MaskConfig(segmenter=Token()))
    soft = workshop.annotate(rows, "soft", mask=MaskConfig(weights=SoftWeights()))
    counts = prepare_arms({"gold": gold.path, "soft": soft.path}, "gold", tmp_path / "arms")
    assert sum(counts.values()) == 12
    assert min(counts.values()) > 0  # each prompt is a group of its own
    for one in read_marked(tmp_path / "arms", "train", 200):
        [row] = [row for row in columns(soft) if row["asr_row"] == one.pair.row]
        assert one.weights["soft"]["rejected"] == row["rejected_weight"]
        text = one.pair.text["rejected"]
        assert any(one.faulty["rejected"]) == ("rong" in text)
    unmarked = prepare_arms({"soft": soft.path}, None, tmp_path / "unmarked")
    assert sum(unmarked.values()) == 12
    train, test = (read_marked(tmp_path / "unmarked", part, 200) for part in ("train", "test"))
    assert [one.pair.row for one in test] == [pair.row for pair in hold_out(annotated_pairs(soft.path), 0.15, 17)[1]]
    assert {label for one in train for side in SIDES for label in one.faulty[side]} == {None}
    with pytest.raises(SystemExit, match="one half"):
        prepare_arms({"gold": workshop.annotate(rows[:1], "one").path}, "gold", tmp_path / "few")


def test_runs_go_on_where_they_were_stopped_and_within_their_budget(bundle: Path, capsys: Any) -> None:
    runs = bundle / "runs"
    arms = ["dpo", "gold", "gold-turned"]
    credit.run_arms(bundle, runs, SETTINGS, arms, [0], budget=0)
    assert list(runs.iterdir()) == []
    assert "would go beyond 0 CPU minutes" in capsys.readouterr().out
    credit.run_arms(bundle, runs, SETTINGS, arms[:1], [0], budget=9)
    (runs / "dpo-0.json").write_text((runs / "dpo-0.json").read_text().replace('"seed": 0', '"seed": 0, "before": 1'))
    credit.run_arms(bundle, runs, SETTINGS, arms, [0], budget=9)
    found = {path.stem: json.loads(path.read_text()) for path in runs.iterdir()}
    assert set(found) == {"dpo-0", "gold-0", "gold-turned-0"}
    assert "before" in found["dpo-0"]
    for result in found.values():
        assert result["curve"][0] == pytest.approx(0.6931, abs=1e-3)  # log 2: policy and reference are the same
        assert [one["step"] for one in result["measured"]] == [1, 3, 4]
        [first, _] = result["measured"][-1]["pairs"]
        assert first["chosen"]["auroc"] is None  # nobody marked that side
        assert 0 <= first["rejected"]["auroc"] <= 1
    curves = {json.dumps(result["curve"]) for result in found.values()}
    assert len(curves) == 3
    with pytest.raises(SystemExit, match="other settings"):
        credit.run_arms(bundle, runs, credit.CreditSettings(), arms, [0], budget=9)
    assert "| gold − gold-turned | 0 |" in credit_report(runs)


def test_figures_of_a_pair_by_hand(bundle: Path) -> None:
    [marked, _] = read_marked(bundle, "test", 200)
    size = len(marked.pair.ids["rejected"])
    half = size // 2
    ratio = np.where(np.arange(size) < half, 0.5, -2.0)
    ratio[0] = -3.0
    found = credit.pair_figures(marked, {"chosen": np.zeros(len(marked.pair.ids["chosen"])), "rejected": ratio})[
        "rejected"
    ]
    assert found["right"] == pytest.approx((0.5 * (half - 1) - 3) / half)
    assert found["faulty"] == pytest.approx(-2)
    assert found["auroc"] == pytest.approx((half - 1) / half)  # all but the first right token stand above the faults
    assert found["end"] == -2
    ratio[-1] = 7
    marked.pair.ids["rejected"][-1] = 99999
    ended = credit.pair_figures(marked, {"rejected": ratio, "chosen": np.zeros(len(marked.pair.ids["chosen"]))}, 99999)
    assert ended["rejected"]["faulty"] == pytest.approx(-2)  # the end of the turn is no text
    assert ended["rejected"]["end"] == 7
    marked.pair.ids["rejected"][-2:] = [99999, 10]  # the template goes on behind it
    ended = credit.pair_figures(marked, {"rejected": ratio, "chosen": np.zeros(len(marked.pair.ids["chosen"]))}, 99999)
    assert ended["rejected"]["end"] == -2
    assert ended["chosen"]["end"] is None


def made_up(arm: str, seed: int, aurocs: list[list[float]], distances: list[float]) -> dict[str, Any]:
    """A run with a measurement for each distance; question i has AUROC i."""

    def pair(group: int, auroc: float, distance: float) -> dict[str, Any]:
        one = {"sum": 0.0, "end": 0.0, "distance": distance, "right": 0.0, "faulty": -1.0, "auroc": auroc}
        one["position"] = 0.25
        return {"row": group, "group": str(group), "chosen": one, "rejected": one}

    return {
        "arm": arm,
        "seed": seed,
        "settings": {"epochs": 1},
        "train_pairs": 4,
        "kept": {"chosen": 1.0, "rejected": 0.5},
        "cpu_seconds": 60.0,
        "measured": [
            {"step": step, "pairs": [pair(g, value, distance) for g, value in enumerate(own)]}
            for step, (own, distance) in enumerate(zip(aurocs, distances, strict=True))
        ],
    }


def test_the_tables_by_hand(tmp_path: Path) -> None:
    given = [
        made_up("dpo", 0, [[0.5, 0.5], [0.6, 0.8]], [0.1, 0.2]),
        made_up("gold", 0, [[0.7, 0.9], [0.9, 1.0]], [0.2, 0.9]),
    ]
    for result in given:
        (tmp_path / f"{result['arm']}-{result['seed']}.json").write_text(json.dumps(result))
    text = credit_report(tmp_path)
    assert "2 runs, 2.0 CPU minutes" in text
    rows = [line for line in text.splitlines() if line.startswith("| gold − dpo | 0 |")]
    [gold, _] = [line for line in text.splitlines() if line.startswith("| gold | 0 |")]
    assert re.findall(r"(-?\d\.\d{3}) \(", gold)[:2] == ["0.950", "0.700"]  # AUROC, and less 0.25
    first = [re.findall(r"([-+]\d\.\d{3}) \(", row)[0] for row in rows]
    assert first == ["+0.250", "+0.100"]  # at the end 0.95 − 0.7; at a distance of 0.2 0.8 − 0.7


def test_a_ladder_changes_one_factor_at_a_time() -> None:
    short = credit.CreditSettings()
    long = ladder.changed(short, "rows=800,learning_rate=1e-4,detach=True")
    found = ladder.rungs(short, long)
    assert list(found) == ["short", "rows", "learning_rate", "detach", "long"]
    assert (found["rows"].rows, found["rows"].detach, found["rows"].learning_rate) == (800, False, short.learning_rate)
    assert (found["long"].rows, found["long"].detach, found["long"].learning_rate) == (800, True, 1e-4)
    with pytest.raises(SystemExit, match="'rank_' is no setting"):
        ladder.changed(short, "rank_=1")


def test_the_report_of_a_ladder_by_hand(tmp_path: Path) -> None:
    for rung, moved in (("long", 0.1), ("short", 0.2), ("epochs", 0.0)):
        (tmp_path / rung).mkdir()
        for arm, distances in (("dpo", [0.1, 0.2]), ("gold", [0.2, 0.9])):
            result = made_up(arm, 0, [[0.5, 0.5], [0.6, 0.8]], distances)
            for pair in result["measured"][-1]["pairs"]:
                pair["rejected"]["right"] += moved * (arm == "gold")
            (tmp_path / rung / f"{arm}-0.json").write_text(json.dumps(result))
    header, _, *rows = ladder_report(tmp_path).splitlines()
    assert [row.split(" | ")[:2] for row in rows[:6]] == [
        [f"| {rung}", arm] for rung in ("short", "epochs", "long") for arm in ("dpo", "gold − dpo")
    ]
    place = header.split(" | ").index("right text, nats")
    assert [row.split(" | ")[place][:6] for row in rows[1:6:2]] == ["+0.200", "+0.000", "+0.100"]
    assert [row.split(" | ")[0] for row in rows[6:12:2]] == ["| short, matched", "| epochs, matched", "| long, matched"]
    assert rows[7].split(" | ")[place][:6] == "+0.000"  # gold's first measurement, at a distance of 0.2
    with pytest.raises(SystemExit, match="no rungs with results"):
        ladder_report(tmp_path / "short")


def test_only_pairs_of_some_groups(tmp_path: Path) -> None:
    (tmp_path / "dpo-0.json").write_text(json.dumps(made_up("dpo", 0, [[0.25, 0.75]], [0.1])))
    rows = [line for line in credit_report(tmp_path, "1").splitlines() if line.startswith("| dpo | 0 |")]
    assert [re.findall(r"(\d\.\d{3}) \(", row)[0] for row in rows] == ["0.750", "0.750"]


def test_rows_that_were_dropped_count_nothing(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> None:
    workshop = Workshop(tmp_path, make_tokenizer("byte_level"))
    rows = [
        {"prompt": f"Question {n}?", "chosen": "Yes. It is so.", "rejected": "No. It is." if n % 2 else "Wrong it is."}
        for n in range(12)
    ]
    gold = workshop.annotate(rows, "gold", mask=MaskConfig(segmenter=Token()))
    drop = workshop.annotate(
        rows, "drop", mask=MaskConfig(segmenter=Token(), baseline=FixedBaseline(value=0.5), on_empty="drop")
    )
    lost = {row["asr_row"] for row in columns(gold)} - {row["asr_row"] for row in columns(drop)}
    assert 0 < len(lost) < 12
    prepare_arms({"gold": gold.path, "drop": drop.path}, "gold", tmp_path / "arms")
    marked = [one for part in ("train", "test") for one in read_marked(tmp_path / "arms", part, 200)]
    assert len(marked) == 12
    for one in marked:
        kept = any(any(weights) for weights in one.weights["drop"].values())
        assert kept == (one.pair.row not in lost)


def test_states_below_the_adapter_are_those_of_the_whole_model(bundle: Path, deep: tuple[Any, Any]) -> None:
    model, tokenizer = deep
    pairs = [one.pair for one in read_marked(bundle, "train", 200)]
    lower = LowerStates(model, layers=2)
    placed = [*lower.add(pairs[:3], 2), *lower.add(pairs[3:], 2)]
    policy = Policy(model, tokenizer, rank=2, layers=2)
    for parameter in policy.parameters:
        torch.nn.init.normal_(parameter, std=0.1)
    found = upper_log_probabilities(lower.upper(policy.model.model), model.lm_head, placed)
    whole = policy.log_probabilities(pairs, SIDES)
    base = upper_log_probabilities(lower.upper(model.model), model.lm_head, placed)
    for side, padded in zip(SIDES, whole, strict=True):
        for own, other, untrained in zip(found[side], padded, base[side], strict=True):
            assert torch.allclose(own, other[: len(own)], atol=0.1)  # bfloat16
            assert not torch.allclose(own, untrained, atol=0.1)
    sum(own.sum() for side in SIDES for own in found[side]).backward()
    gradients = [parameter.grad.clone() for parameter in policy.parameters]
    for parameter in policy.parameters:
        parameter.grad = None
    sum(padded.sum() for padded in whole).backward()
    for own, parameter in zip(gradients, policy.parameters, strict=True):
        assert torch.nn.functional.cosine_similarity(own.flatten(), parameter.grad.flatten(), dim=0) > 0.99


def test_log_probabilities_of_a_head_in_chunks() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(300, 5, generator=generator, requires_grad=True)
    weight, target = torch.randn(7, 5, generator=generator), torch.randint(7, (300,), generator=generator)
    by, expected = torch.randn(300, generator=generator), (states @ weight.T).log_softmax(dim=1)
    expected = expected.gather(1, target[:, None])[:, 0]
    [wanted] = torch.autograd.grad((expected * by).sum(), states)
    found = target_log_probabilities(states, weight, target)
    [gradient] = torch.autograd.grad((found * by).sum(), states)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(gradient, wanted, atol=1e-5)


def test_rejection_sampling_trains_on_chosen_responses(bundle: Path) -> None:
    runs = bundle / "runs"
    credit.run_arms(bundle, runs, replace(SETTINGS, prompts=2, new_tokens=3), ["base", "rs", "gold-ars"], [0], budget=9)
    found = {path.stem: json.loads(path.read_text()) for path in runs.iterdir()}
    assert found["base-0"]["curve"] == found["base-0"]["measured"] == []
    assert {len(one["samples"]) for one in found.values()} == {2}
    assert found["rs-0"]["curve"] == found["gold-ars-0"]["curve"]  # gold keeps all of what nobody marked
    assert found["rs-0"]["curve"][-1] < found["rs-0"]["curve"][0]
    ends = [pair["chosen"]["sum"] for pair in found["rs-0"]["measured"][-1]["pairs"]]
    assert min(ends) > 0  # the likelihood of what was trained on rose


def test_the_win_rate_by_hand(tmp_path: Path) -> None:
    def answers(rewards: list[float | None], tokens: list[int]) -> list[dict[str, Any]]:
        both = enumerate(zip(rewards, tokens, strict=True))
        return [{"row": i, "group": str(i), "reward": r, "tokens": n, "ended": n < 20} for i, (r, n) in both]

    samples = {
        "base-0": answers([0.5, 0.5, 0.5, None], [10, 20, 10, 9]),
        "dpo-0": answers([0.6, 0.1, 0.5, 0.9], [10, 10, 12, 9]),
    }
    of = {"base-0": {"arm": "base", "seed": 0}, "dpo-0": {"arm": "dpo", "seed": 0}}
    pairs = [{"chosen": 1.0, "rejected": 0.0}, {"chosen": 0.0, "rejected": 1.0}, {"chosen": None, "rejected": 1.0}]
    path = tmp_path / "wins-judge.json"
    path.write_text(json.dumps({"scorer": "judge", "runs": of, "samples": samples, "pairs": pairs}))
    text = wins_report(path)
    [dpo] = [line for line in text.splitlines() if line.startswith("| dpo | 0 |")]
    # A win, a loss and a tie of three; shorter once, longer once, two of equal length; a win and a tie within a fifth.
    assert re.findall(r"(\d+\.\d{3}) \(", dpo) == ["0.500", "0.500", "0.750", "10.250", "1.000"]
    assert "judge ranks 0.500 of 2 test pairs" in text
