"""The whole demo with a tiny model in place of the built-in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import asr_data
import asr_data.storage
import asr_data.text
from asr_data.evaluation.by_group import GroupFindings
from asr_data.sample import sample_rows
from asr_data.statistics.bootstrap import Estimate
from asr_data_cli.app import build_app
from asr_data_cli.demo import PAIRS_PER_TOPIC, SHOWN, print_findings


@pytest.fixture
def tiny(
    make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import torch

    head = {"score.weight": torch.linspace(-1, 1, 32)[None], "score.bias": torch.zeros(1)}
    model = make_checkpoint(tmp_path_factory.mktemp("tiny"), head, {"kind": "token_head"}, longest=4096)
    load, load_tokenizer = asr_data.load_scorer, asr_data.text.load_tokenizer

    def load_scorer(name: Any = "builtin", kind: str = "auto", **settings: Any) -> Any:
        return load(name if kind == "labels" else str(model), kind, **settings)

    monkeypatch.setattr(asr_data, "load_scorer", load_scorer)
    monkeypatch.setattr(asr_data.text, "load_tokenizer", lambda _name: load_tokenizer(str(model)))
    few = sample_rows(1)
    monkeypatch.setattr("asr_data.sample.sample_rows", lambda _per_topic: few)


@pytest.mark.usefixtures("tiny")
def test_demo_shows_marks_then_the_model_then_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build_app(), ["demo"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    out = result.stdout
    marks, model, table = (out.index(start) for start in ("1. Right masks", "2. The same pair", "3. What it finds"))
    assert marks < model < table
    # Of the first pair the chosen answer is kept whole, of the rejected one what is marked.
    assert "1 of 1 segments" in out[marks:model]
    assert "[-The cause is the tilt" in out[marks:model]
    assert "│{~The southern hemisphere has its summer in those same months.~}│[-" in " ".join(out[marks:model].split())
    for topic in ("facts", "arithmetic", "code", "instructions", "safety", "dialogue", "all"):
        assert f"\n {topic} " in out[table:]
    assert "valid: asr-demo" in out
    assert "  asr-annotate inspect asr-demo --row 0 --values\n" in out
    assert max(map(len, out.split("\n"))) <= 80
    assert (out.count("next segment"), out.count("  user: ")) == (1, 1)  # the pair is shown twice, its prompt once
    assert "rows" not in result.stderr  # no lines of progress where there is no terminal
    assert json.loads(Path("asr-demo/asr.json").read_text())["counts"]["annotated"] == 6

    again = CliRunner().invoke(build_app(), ["demo"])
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr
    assert CliRunner().invoke(build_app(), ["demo", "--overwrite"]).exit_code == 0


@pytest.mark.usefixtures("tiny")
def test_a_damaged_output_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problem = SimpleNamespace(file="data", row=None, message="broken")
    monkeypatch.setattr(asr_data.storage, "validate", lambda _path: [problem])
    result = CliRunner().invoke(build_app(), ["demo"])
    assert result.exit_code == 1
    assert "data: broken" in result.stdout


def test_the_pair_that_is_shown_is_in_the_part_that_is_scored() -> None:
    rows = sample_rows(PAIRS_PER_TOPIC)
    assert sum(row["prompt"][-1]["content"].startswith(SHOWN) for row in rows) == 1


def finding(name: str, found: float | None, **controls: float | None) -> GroupFindings:
    return GroupFindings(name, Estimate(found, 0.3, 0.7, 15), {"chance": 0.5, **controls})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([finding("a", 0.6, diff=0.7), finding("all", 0.9)], "ahead of all three on no topic."),
        ([finding("a", 0.6, diff=0.5), finding("all", 0.2)], "ahead of all three on every topic."),
        (
            [finding("a", 0.6), finding("b", 0.5), finding("c", 0.8), finding("d", None), finding("all", 0.6)],
            "ahead of all three on a, c; not on b, d.",
        ),
    ],
)
def test_the_verdict_follows_the_table(found: list[GroupFindings], words: str) -> None:
    console = Console(width=80)
    with console.capture() as captured:
        print_findings(console, found)
    assert words in " ".join(captured.get().split())
