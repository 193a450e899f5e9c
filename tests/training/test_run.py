from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, InputError, OutputExistsError, ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.training.config import TrainingConfig
from asr_data.training.run import command_line, train_scorer
from asr_data.types import Completion, RejectedRow, Row

FP32 = ScoringConfig(dtype="float32", device="cpu")
USER = [{"role": "user", "content": "How much?"}]


class Quiet:
    def update(self, stage: str, rows: int, total: int, tokens: int) -> None:
        pass

    def message(self, text: str) -> None:
        pass


class Killed(Exception):  # noqa: N818 - what happens, not an error of ours
    pass


class KilledAt(Quiet):
    def __init__(self, stage: str, rows: int) -> None:
        self.stage, self.rows = stage, rows

    def update(self, stage: str, rows: int, total: int, tokens: int) -> None:
        if stage == self.stage and rows >= self.rows:
            raise Killed


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("data")
    pairs = [
        {"prompt": f"Question {i}?", "chosen": f"The answer is {i}.", "rejected": "No idea at all, sorry."}
        for i in range(20)
    ]
    steps = [
        {"prompt": f"Sum {i}?", "completions": [f"Add {i}.", "It is wrong."], "labels": [True, False]}
        for i in range(20)
    ]
    for name, rows in (("pairs", pairs), ("steps", steps)):
        text = "".join(json.dumps(r) + "\n" for r in rows)
        (directory / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return {"sources": (str(directory / "pairs.jsonl"), f"{directory / 'steps.jsonl'}:labels")}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture
def config(sources: dict[str, Any], base: Path) -> Callable[..., TrainingConfig]:
    def make(**settings: Any) -> TrainingConfig:
        given = {
            "base": str(base),
            "lora_rank": 2,
            "max_tokens": 1500,
            "batch_tokens": 256,
            "micro_batch_tokens": 256,
            "checkpoint_steps": 2,
            "held_out": 0.3,
        }
        return TrainingConfig(**{**sources, **given, **settings})

    return make


def rewards(directory: Path) -> np.ndarray:
    content = [{"role": "assistant", "content": "The answer is 4. Café 👩"}]
    row = Row(0, {}, USER, (Completion("completion", content, preferred=True),))
    (entry,) = load_scorer(directory, scoring=FP32).score([row])
    assert not isinstance(entry, RejectedRow), entry
    return entry[0].span_reward


@pytest.mark.parametrize("rank", [2, 0])
def test_what_is_trained_loads_as_any_other_scorer(
    tmp_path: Path, rank: int, config: Callable[..., TrainingConfig], base: Path
) -> None:
    report = train_scorer(config(lora_rank=rank), tmp_path / "out", resume=False, progress=Quiet())
    assert report.path == tmp_path / "out"
    assert np.ptp(rewards(report.path)) > 0
    names = [figure.name.split("/")[-1] for figure in report.figures]
    assert names == ["pairs pairs: pairs right", "steps: mean AUROC of token values within a response"]
    assert not (report.path / ".training").exists()
    stored = json.loads((report.path / "report.json").read_text(encoding="utf-8"))
    assert [point["step"] for point in stored["curve"]] == [point["step"] for point in report.curve]
    assert sum(stored["data"].values()) == 40
    assert (report.path / "adapter").exists() == (rank > 0)
    if rank:
        assert "safetensors" in " ".join(p.name for p in (report.path / "adapter").iterdir())
        assert str(base) not in (report.path / "adapter" / "adapter_config.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("at", [("training", 3), ("measuring", 1)])
def test_a_resumed_training_gives_the_same_files(
    tmp_path: Path, at: tuple[str, int], config: Callable[..., TrainingConfig]
) -> None:
    train_scorer(config(), tmp_path / "whole" / "out", resume=False, progress=Quiet())
    with pytest.raises(Killed):
        train_scorer(config(), tmp_path / "killed" / "out", resume=False, progress=KilledAt(*at))
    train_scorer(config(), tmp_path / "killed" / "out", resume=True, progress=Quiet())
    for name in ("head.safetensors", "adapter/adapter_model.safetensors", "asr_scorer.json"):
        one, other = (tmp_path / part / "out" / name for part in ("whole", "killed"))
        assert one.read_bytes() == other.read_bytes(), name


def test_resuming_with_other_settings_is_refused(tmp_path: Path, config: Callable[..., TrainingConfig]) -> None:
    with pytest.raises(Killed):
        train_scorer(config(), tmp_path, resume=False, progress=KilledAt("training", 3))
    with pytest.raises(OutputExistsError, match=r"seed: 17 then, 18 now"):
        train_scorer(config(seed=18), tmp_path, resume=True, progress=Quiet())
    with pytest.raises(OutputExistsError, match="is not empty"):
        train_scorer(config(), tmp_path, resume=False, progress=Quiet())


def test_an_output_that_is_not_ours(tmp_path: Path, config: Callable[..., TrainingConfig]) -> None:
    (tmp_path / "diary.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(OutputExistsError, match="holds no unfinished training"):
        train_scorer(config(), tmp_path, resume=True, progress=Quiet())
    with pytest.raises(OutputExistsError, match="is a file"):
        train_scorer(config(), tmp_path / "diary.txt", resume=False, progress=Quiet())
    assert [p.name for p in tmp_path.iterdir()] == ["diary.txt"]


def test_a_base_that_is_a_reward_model_already(
    tmp_path: Path, make_checkpoint: Callable[..., Path], config: Callable[..., TrainingConfig]
) -> None:
    base = make_checkpoint(tmp_path / "base", {"score.weight": torch.ones(1, 32)})
    with pytest.raises(ConfigError, match=r"tensors that are not the backbone's: \['score\.weight'\]"):
        train_scorer(config(base=str(base)), tmp_path / "out", resume=False, progress=Quiet())


def test_a_base_that_is_not_there(tmp_path: Path, config: Callable[..., TrainingConfig]) -> None:
    with pytest.raises(ScorerError, match="is not a model directory"):
        train_scorer(config(base=str(tmp_path / "none")), tmp_path / "out", resume=False, progress=Quiet())


def test_held_out_questions_are_not_trained_on(
    tmp_path: Path, config: Callable[..., TrainingConfig], sources: dict[str, Any]
) -> None:
    pairs, steps = sources["sources"]
    given = (pairs, f"{steps},train", f"{steps},test")
    report = train_scorer(config(sources=given), tmp_path, resume=False, progress=Quiet())
    stored = json.loads((report.path / "report.json").read_text(encoding="utf-8"))
    # The test file is the training file: all of its questions were taught, so none may be measured on.
    assert not any(name.startswith("held out") and "steps" in name for name in stored["data"])


def test_only_the_last_layers_are_adapted(tmp_path: Path, config: Callable[..., TrainingConfig]) -> None:
    train_scorer(config(lora_layers=1), tmp_path, resume=False, progress=Quiet())
    adapter = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert adapter["target_modules"]
    assert all(name.startswith("layers.1.") for name in adapter["target_modules"])


def test_the_command_names_what_is_not_the_default() -> None:
    config = TrainingConfig(sources=("my spans.jsonl:labels", "b.jsonl"), seed=3)
    assert command_line(config, Path("out")) == (
        "asr-annotate train-scorer 'my spans.jsonl:labels' b.jsonl --output out --seed 3"
    )


def test_sources_are_described_before_a_model_is_loaded(
    tmp_path: Path, config: Callable[..., TrainingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loaded(Exception):  # noqa: N818 - what happens, not an error of ours
        pass

    def load(*_: Any, **__: Any) -> Any:
        raise Loaded

    class Listening(Quiet):
        def message(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    source = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Q {i}?", "chosen": "Yes. " * 4**i, "rejected": "No."} for i in range(6)]
    source.write_text("\n".join(map(json.dumps, [*rows, rows[0] | {"chosen": ""}])), encoding="utf-8")
    monkeypatch.setattr("asr_data.training.run.load_backbone", load)
    with pytest.raises(Loaded):
        train_scorer(
            config(sources=(str(source),), max_length=400), tmp_path / "out", resume=False, progress=Listening()
        )
    assert "  6 of 7 rows used: 6 pairs" in said
    assert "  1 rows left out, empty_response: row 6: chosen is empty or nothing but white space" in said
    # 4**5 words and a full stop for each, at least a token apiece; 4**4 take more than 400 tokens, too
    assert f"2 examples left out, {tmp_path.name}/pairs: too_long" in said


def test_bad_sources_leave_no_output_behind(tmp_path: Path, config: Callable[..., TrainingConfig]) -> None:
    with pytest.raises(InputError, match="no such file"):
        train_scorer(config(sources=(str(tmp_path / "none.jsonl"),)), tmp_path / "out", resume=False, progress=Quiet())
    assert not (tmp_path / "out").exists()


def test_resuming_with_other_data_is_refused(tmp_path: Path, config: Callable[..., TrainingConfig]) -> None:
    source = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Q {i}?", "chosen": f"It is {i}.", "rejected": "No idea."} for i in range(20)]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given = config(sources=(str(source),))
    with pytest.raises(Killed):
        train_scorer(given, tmp_path / "out", resume=False, progress=KilledAt("training", 3))
    source.write_text("\n".join(map(json.dumps, rows[:-1])), encoding="utf-8")
    with pytest.raises(OutputExistsError, match="content"):
        train_scorer(given, tmp_path / "out", resume=True, progress=Quiet())


def test_the_scorer_says_the_layout_it_was_trained_in(tmp_path: Path, config: Callable[..., TrainingConfig]) -> None:
    train_scorer(config(), tmp_path, resume=False, progress=Quiet())
    assert json.loads((tmp_path / "asr_scorer.json").read_text(encoding="utf-8"))["prompt"]["strings"] == "turns"
