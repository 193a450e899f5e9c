"""``train-scorer --method features`` from files to a scorer, on a small random model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.training import feature_run
from asr_data.training.config import TrainingConfig
from asr_data.training.feature_fit import scores_of
from asr_data.training.run import command_line, train_scorer
from asr_data.types import Completion, RejectedRow, Row


class Quiet:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, stage: str, rows: int, total: int, tokens: int) -> None:
        pass

    def message(self, text: str) -> None:
        self.lines.append(text)


class Killed(Exception):  # noqa: N818 - what happens, not an error of ours
    pass


class KilledAfter(Quiet):
    def update(self, stage: str, rows: int, total: int, tokens: int) -> None:
        if stage == "reading" and rows >= 32:
            raise Killed


@pytest.fixture(scope="module")
def base(
    tmp_path_factory: pytest.TempPathFactory, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]
) -> Path:
    head = torch.randn(len(make_tokenizer().hf), 32, generator=torch.Generator().manual_seed(1))
    return make_checkpoint(tmp_path_factory.mktemp("base"), {"lm_head.weight": head})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    spans = [
        {
            "prompt": f"Question {n}?",
            "chosen": f"It is {n}. So it is.",
            "rejected": f"It is {n}. It is green." if n % 2 else f"It is red. It is {n}.",
            "rejected_spans": [{"start": 12, "end": 22}] if n % 2 else [{"start": 0, "end": 10}],
        }
        for n in range(10, 60)
    ]
    pairs = [{"prompt": f"Why {n}?", "chosen": f"Because {n}.", "rejected": "No idea, sorry."} for n in range(20)]
    for name, rows in (("spans", spans), ("pairs", pairs)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return directory


@pytest.fixture
def config(data: Path, base: Path) -> Callable[..., TrainingConfig]:
    def make(**settings: Any) -> TrainingConfig:
        sources = (f"{data}/spans.jsonl:labels", f"{data}/pairs.jsonl:preferences")
        given = {"sources": sources, "base": str(base), "method": "features", "held_out": 0.3}
        return TrainingConfig(**{**given, **settings})

    return make


def test_a_scorer_that_says_what_was_measured(
    config: Callable[..., TrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_run, "pick_dtype", lambda *_: torch.float32)
    measured: list[Any] = []
    original = feature_run.feature_figures

    def watched(*given: Any) -> Any:
        measured.append(given)
        return original(*given)

    monkeypatch.setattr(feature_run, "feature_figures", watched)
    report = train_scorer(config(), tmp_path / "out", resume=False, progress=Quiet())
    names = {figure.name.partition(": ")[2] for figure in report.figures}
    assert {"sentences", "tokens", "sentences, by shared words alone", "right without a partner"} <= names
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "README.md",
        "asr_scorer.json",
        "head.safetensors",
        "report.json",
    ]
    scorer = load_scorer(tmp_path / "out", scoring=ScoringConfig(dtype="float32", device="cpu"))
    ((reads, head, features, _),) = measured
    labelled = [read for read in reads if read.asked.goal == "labels"]
    assert labelled
    for read in labelled[:3]:
        reading = read.asked.responses[0]
        row = row_of(scorer.tokenizer, reading.requests[0].ids)
        (entry,) = scorer.score([row])
        assert not isinstance(entry, RejectedRow)
        wanted = scores_of(head, features, read, 0, partner=True)
        np.testing.assert_allclose(entry[1].span_reward[1:], wanted, atol=5e-3)  # hidden states are kept in float16


def row_of(tokenizer: Any, ids: list[int]) -> Row:
    """The pair that a rejected response of the fixture is of, from its question's number."""
    text = tokenizer.hf.decode(ids)
    number = int(text.partition("Question ")[2].partition("?")[0])
    rejected = f"It is {number}. It is green." if number % 2 else f"It is red. It is {number}."
    assert rejected in text
    answers = [(f"It is {number}. So it is.", True), (rejected, False)]
    completions = [
        Completion("chosen" if good else "rejected", [{"role": "assistant", "content": answer}], preferred=good)
        for answer, good in answers
    ]
    return Row(0, {}, [{"role": "user", "content": f"Question {number}?"}], tuple(completions))


def test_the_same_after_an_interruption(config: Callable[..., TrainingConfig], tmp_path: Path) -> None:
    train_scorer(config(), tmp_path / "whole", resume=False, progress=Quiet())
    with pytest.raises(Killed):
        train_scorer(config(), tmp_path / "killed", resume=False, progress=KilledAfter())
    kept = list((tmp_path / "killed" / ".training" / "read").glob("*.npz"))
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    resumed = Quiet()
    train_scorer(config(), tmp_path / "killed", resume=True, progress=resumed)
    assert before  # it was taken as it was
    first, second = (tmp_path / name / "head.safetensors" for name in ("whole", "killed"))
    assert first.read_bytes() == second.read_bytes()


def test_held_out_questions_are_not_learnt_from(config: Callable[..., TrainingConfig], tmp_path: Path) -> None:
    report = train_scorer(config(), tmp_path / "out", resume=False, progress=Quiet())
    counts = json.loads((report.path / "report.json").read_text())["data"]
    folder = next(iter(counts)).partition(" ")[2].partition("/")[0]
    assert folder
    spans = {name: count for name, count in counts.items() if name.endswith("spans")}
    assert sum(spans.values()) == 50
    assert len(spans) == 2


def test_a_budget_is_kept(config: Callable[..., TrainingConfig], tmp_path: Path) -> None:
    quiet = Quiet()
    train_scorer(config(max_tokens=2000), tmp_path / "out", resume=False, progress=quiet)
    (line,) = [line for line in quiet.lines if line.startswith("reading ")]
    tokens = int(line.rpartition(": ")[2].removesuffix(" tokens").replace(",", ""))
    assert 2000 <= tokens <= 2 * 2400


def test_a_model_without_a_language_head(
    config: Callable[..., TrainingConfig], tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    headless = make_checkpoint(tmp_path / "base")
    with pytest.raises(ScorerError, match=r"missing \['lm_head\.weight'\]"):
        train_scorer(config(base=str(headless)), tmp_path / "out", resume=False, progress=Quiet())


def test_what_is_for_adapters_alone(config: Callable[..., TrainingConfig]) -> None:
    for name, value in (("lora_rank", 4), ("epochs", 2), ("learning_rate", 1e-4)):
        with pytest.raises(ConfigError, match=f"{name} is for method adapter"):
            config(**{name: value})
    with pytest.raises(ConfigError, match="layer is for method features"):
        config(method="adapter", layer=3)
    assert "--method features --layer 3" in command_line(config(layer=3), Path("out"))
