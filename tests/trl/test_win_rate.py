"""The win rate while training: real DPO runs of a tiny policy, a rule as reward model, a judge on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig

from asr_data.errors import ConfigError
from asr_data.judging import Judge, RequestSettings
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from asr_data.trl import AdaptiveDPOTrainer, WinRateCallback
from asr_data.trl.comparison import Answers, ByScorer, Comparison, sequence_value
from asr_data.types import ByteRewards
from tests.judging.server import JudgeServer, Status

from .conftest import messages

# TRL 1.16 asks models of transformers 5.23 for a property that they deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

PROMPTS = [messages("user", text) for text in ("Name a colour.", "What is 2 + 2?", "Is it open?", "Name a colour.")]
SHORT = {"every": 2, "max_new_tokens": 8, "batch_size": 3}


def vowels(_: Any, response: str) -> list[tuple[int, int, float]]:
    """The share of vowels."""
    return [(0, len(response), count(response))]


def count(text: str) -> float:
    return sum(letter in "aeiou" for letter in text) / len(text)


@pytest.fixture
def scorer() -> RuleScorer:
    return RuleScorer(vowels, ScorerInfo(name="vowels", kind="rule", form="value", fingerprint="0" * 64))


@pytest.fixture
def trainer(policy: Path, pairs: Any, tokenizer: Any, common: dict[str, Any]) -> Any:
    def make(**more: Any) -> Any:
        args = DPOConfig(**{**common, "max_steps": 4, "learning_rate": 0.05, "logging_steps": 3})
        return AdaptiveDPOTrainer(str(policy), args=args, train_dataset=pairs, processing_class=tokenizer, **more)

    return make


def trained(trainer: Any, callback: WinRateCallback) -> dict[int, dict[str, float]]:
    """The figures by step."""
    trainer.add_callback(callback)
    trainer.train()
    found = [entry for entry in trainer.state.log_history if "policy/win_ratio_unknown" in entry]
    return {entry["step"]: entry for entry in found}


def samples(trainer: Any, step: int) -> list[dict[str, Any]]:
    path = Path(trainer.args.output_dir) / "win_rate" / f"step-{step:06d}" / "samples.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def points(sample: dict[str, Any]) -> float:
    """By hand: equal texts and equal shares tie, nothing loses against something."""
    own, other = sample["policy"], sample["reference"]
    if own == other or not (own.strip() or other.strip()):
        return 0.5
    if not own.strip() or not other.strip():
        return float(bool(own.strip()))
    return float(np.sign(np.float32(count(own)) - np.float32(count(other)))) / 2 + 0.5


def test_a_run_with_a_reward_model(trainer: Any, scorer: RuleScorer) -> None:
    run = trainer()
    figures = trained(run, WinRateCallback(run, PROMPTS, scorer=scorer, **SHORT))
    assert list(figures) == [0, 2, 4]
    assert figures[0]["policy/win_ratio"] == 0.5, "equal models give equal answers"
    assert all(one["policy"] == one["reference"] for one in samples(run, 0))
    assert any(one["policy"] != one["reference"] for one in samples(run, 4))
    for step, found in figures.items():
        own = [points(sample) for sample in samples(run, step)]
        assert found["policy/win_ratio"] == pytest.approx(np.mean(own))
        assert found["policy/win_ratio_low"] <= found["policy/win_ratio"] <= found["policy/win_ratio_high"]
        assert found["policy/win_ratio_unknown"] == 0
        assert [sample["prompt"] for sample in samples(run, step)] == PROMPTS
        assert [sample["points"] for sample in samples(run, step)] == own
    references = [[sample["reference"] for sample in samples(run, step)] for step in figures]
    assert references[0] == references[1] == references[2], "the same random numbers at every step"


def test_training_is_as_without(trainer: Any, scorer: RuleScorer) -> None:
    alone, watched = trainer(), trainer()
    alone.train()
    trained(watched, WinRateCallback(watched, PROMPTS, scorer=scorer, **SHORT))
    for one, other in zip(alone.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert watched.model.training
    logs = [
        [
            {k: v for k, v in entry.items() if k.startswith(("loss", "rewards", "logps"))}
            for entry in run.state.log_history
        ]
        for run in (alone, watched)
    ]
    assert [entry for entry in logs[0] if entry] == [entry for entry in logs[1] if entry]


def test_a_step_that_is_measured_is_logged_too(trainer: Any, scorer: RuleScorer) -> None:
    run = trainer()
    run.args.logging_steps = 2
    assert list(trained(run, WinRateCallback(run, PROMPTS, scorer=scorer, **SHORT))) == [0, 2, 4]
    assert [entry["step"] for entry in run.state.log_history if "loss" in entry] == [2, 4]


def test_with_an_adapter_the_reference_is_the_policy_without_it(
    trainer: Any, scorer: RuleScorer, policy: Path, tokenizer: Any
) -> None:
    run = trainer(peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_alpha=64))
    assert run.ref_model is None
    greedy = {"generation": {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}}
    figures = trained(run, WinRateCallback(run, PROMPTS, scorer=scorer, **SHORT, **greedy))
    assert figures[0]["policy/win_ratio"] == 0.5
    assert any(one["policy"] != one["reference"] for one in samples(run, 4))
    base = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    for sample in samples(run, 4):
        ids = tokenizer.apply_chat_template(
            sample["prompt"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        made = base.generate(**ids, do_sample=False, max_new_tokens=8)
        assert sample["reference"] == tokenizer.decode(made[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-DummyKeyForTestsOnly")
    with JudgeServer() as running:
        yield running


def judge(server: JudgeServer) -> list[Judge]:
    pytest.importorskip("openai", reason="the package openai is missing: pip install 'asr-data[judge]'")
    return [Judge(model="m", endpoint=server.url)]


QUIET = RequestSettings(concurrency=1, retries=0, timeout=10)


def test_a_run_with_judges(trainer: Any, server: JudgeServer) -> None:
    run = trainer()
    figures = trained(run, WinRateCallback(run, PROMPTS, judges=judge(server), requests=QUIET, **SHORT))
    assert figures[0]["policy/win_ratio"] == 0.5
    asked = 0
    for step, found in figures.items():
        own = [judged(one) for one in samples(run, step)]
        assert [one["points"] for one in samples(run, step)] == own
        assert found["policy/win_ratio_unknown"] == own.count(None)
        assert found["policy/win_ratio"] == pytest.approx(np.mean([one for one in own if one is not None]))
        asked += sum(Answers(**texts(one)).settled is None and judged(one) is not None for one in samples(run, step))
    assert len(server.asked) == 2 * asked > 0, "each pair in both orders, and only where there is a question"
    assert (Path(run.args.output_dir) / "win_rate/step-000004/judge/verdicts.jsonl").exists()


def judged(sample: dict[str, Any]) -> float | None:
    """By hand: the server likes exclamation marks; a text with a NUL, which random models write, is not asked about."""
    settled = Answers(**texts(sample)).settled
    if settled is not None:
        return settled
    if "\0" in sample["policy"] + sample["reference"]:
        return None
    return float(np.sign(sample["policy"].count("!") - sample["reference"].count("!"))) / 2 + 0.5


def texts(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: sample[name] for name in ("prompt", "policy", "reference")}


def test_judges_that_fail_do_not_end_the_training(
    trainer: Any, server: JudgeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.always = Status(400)
    run = trainer()
    figures = trained(run, WinRateCallback(run, PROMPTS, judges=judge(server), requests=QUIET, **SHORT))
    assert run.state.global_step == 4
    assert list(figures) == [0], "nobody has to be asked about equal answers"
    assert "no win ratio for step-000004" in caplog.text
    assert len(samples(run, 4)) == len(PROMPTS)


def test_another_state_at_the_same_step_is_asked_about_anew(trainer: Any, server: JudgeServer) -> None:
    run = trainer()
    trained(run, WinRateCallback(run, PROMPTS, judges=judge(server), requests=QUIET, **SHORT))
    before = len(server.asked)
    again = WinRateCallback(run, PROMPTS, judges=judge(server), requests=QUIET, **SHORT)
    again._measure(4)
    assert len(server.asked) == before, "the same answers: the verdicts are there"
    other = WinRateCallback(run, PROMPTS, judges=judge(server), requests=QUIET, seed=7, **SHORT)
    other._measure(4)
    assert len(server.asked) > before


def test_a_separate_reference(trainer: Any, scorer: RuleScorer, policy: Path, pairs: Any) -> None:
    rows = pairs.to_list()
    stored = [
        {**row, **{f"{side}_ref_logp": [-1.0] * len(row[f"{side}_ids"]) for side in ("chosen", "rejected")}}
        for row in rows
    ]
    run = trainer()
    run_stored = AdaptiveDPOTrainer(
        str(policy), args=run.args, train_dataset=type(pairs).from_list(stored), processing_class=run.processing_class
    )
    with pytest.raises(ConfigError, match="keeps no reference model, and its model has no adapter: pass reference="):
        WinRateCallback(run_stored, PROMPTS, scorer=scorer, **SHORT)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    figures = trained(run_stored, WinRateCallback(run_stored, PROMPTS, scorer=scorer, reference=reference, **SHORT))
    assert figures[0]["policy/win_ratio"] == 0.5
    assert list(figures) == [0, 2, 4]


def test_prompts_that_are_strings(trainer: Any, scorer: RuleScorer) -> None:
    run = trainer()
    callback = WinRateCallback(run, ["Name a colour: ", "Two and two is"], scorer=scorer, **SHORT)
    assert trained(run, callback)[4]["policy/win_ratio_unknown"] == 0
    assert [sample["prompt"] for sample in samples(run, 4)] == ["Name a colour: ", "Two and two is"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scorer": None}, "either scorer= or judges="),
        ({"judges": [Judge(model="m", endpoint="http://localhost:1/v1")]}, "either scorer= or judges="),
        ({"every": 0}, "every 0, max_new_tokens 8"),
        ({"prompts": []}, "0 prompts: at least one"),
        ({"prompts": [""]}, "a prompt has no tokens"),
    ],
)
def test_wrong_settings(trainer: Any, scorer: RuleScorer, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WinRateCallback(trainer(), **{"prompts": PROMPTS, "scorer": scorer, **SHORT, **changed})


def test_rows_that_the_scorer_refuses_do_not_count(tmp_path: Path) -> None:
    def refuses(_: Any, response: str) -> list[tuple[int, int, float]]:
        return [(0, len(response), float("nan"))] if "?" in response else [(0, len(response), float(len(response)))]

    info = ScorerInfo(name="r", kind="rule", form="value", fingerprint="0" * 64)
    found = ByScorer(RuleScorer(refuses, info)).compare(
        [Answers("p", "long", "no"), Answers("p", "no", "long"), Answers("p", "four", "long"), Answers("p", "?", "a")],
        tmp_path,
    )
    assert found[:3] == [Comparison(1.0, 4.0, 2.0), Comparison(0.0, 2.0, 4.0), Comparison(0.5, 4.0, 4.0)]
    assert found[3].points is None


@pytest.mark.parametrize(
    ("ends", "rewards", "form", "own", "value"),
    [
        ([0, 1, 4], [9.0, 1.0, 2.0], "value", None, (1 + 3 * 2) / 4),  # the first is the prompt's end
        ([0, 1, 4], [9.0, 1.0, 2.0], "increment", None, 3.0),
        ([1, 4], [1.0, 2.0], "value", 7.0, 7.0),
        ([1, 4], [1.0, float("nan")], "value", None, 1.0),
        ([1], [float("nan")], "value", None, None),
    ],
)
def test_the_value_of_a_response(ends: Any, rewards: Any, form: Any, own: Any, value: float | None) -> None:
    given = ByteRewards(np.array(ends, np.int32), np.array(rewards, np.float32), np.array([], np.int32), own)
    assert sequence_value(given, form) == value


@pytest.mark.parametrize(
    ("policy", "reference", "settled"),
    [("a", "a", 0.5), ("", " ", 0.5), (" ", "a", 0.0), ("a", "", 1.0), ("a", "b", None)],
)
def test_what_nobody_has_to_be_asked(policy: str, reference: str, settled: float | None) -> None:
    assert Answers("p", policy, reference).settled == settled


def test_two_processes_give_the_figures_of_one(policy: Path, pair_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(policy).save_pretrained(tmp_path / "policy")
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    model.save_pretrained(tmp_path / "policy")
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    model.save_pretrained(tmp_path / "reference")
    (tmp_path / "rows.json").write_text(json.dumps(pair_rows[:4]))
    root = Path(__file__).parents[2]
    worker = [str(Path(__file__).with_name("win_rate_worker.py")), str(tmp_path)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command in ([sys.executable], launch):
        done = subprocess.run(
            [*command, *worker],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(root)]), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
    one, *two = (json.loads((tmp_path / f"figures-{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    assert one == two[0] == two[1]
    assert one["policy/win_ratio"] not in (0.0, 0.5, 1.0) or one["samples"]
    assert [sample["prompt"] for sample in one["samples"]] == [row["prompt"] for row in pair_rows[:4]][:3]
