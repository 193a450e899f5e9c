"""``evaluate`` on the command line: what it prints and writes for given figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import asr_data.evaluation.evaluating
from asr_data.config import MaskConfig, Step
from asr_data.evaluation.evaluating import Evaluation, Sweep, SweptSetting
from asr_data.evaluation.labelled_rows import Evaluated, GoldOptions
from asr_data.evaluation.measures import TITLES
from asr_data.statistics.bootstrap import Estimate
from asr_data_cli.app import build_app

EVALUATED = Evaluated(50, 7, {"label_mismatch": 2}, 41, "rejected=marks (errors)", 1_000, 250)
FIGURES = {name: Estimate(0.5, 0.25, 0.75, 12) for name in TITLES} | {"f1": Estimate(None, None, None, 0)}


def invoke(*args: str) -> Result:
    return CliRunner().invoke(build_app(), ["evaluate", *args], env={"COLUMNS": "200"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls that reached the library, which answers with ``FIGURES``."""
    calls: list[Any] = []

    def evaluate(directory: Path, tokenizer: Any, *, options: GoldOptions) -> Evaluation:
        calls.append((directory, tokenizer, options))
        return Evaluation(EVALUATED, MaskConfig(), 0.125, FIGURES)

    def sweep(directory: Path, tokenizer: Any, *, options: GoldOptions, by: str) -> Sweep:
        calls.append((directory, tokenizer, options, by))
        own = SweptSetting(MaskConfig(), FIGURES, Estimate(0.0, 0.0, 0.0, 12))
        steps = MaskConfig(segmenter=Step())
        tried = [SweptSetting(steps, FIGURES, Estimate(0.125, -0.25, 0.5, 12)), own, own]
        return Sweep(EVALUATED, by, own, tried, 0.625, 0.375)

    monkeypatch.setattr(asr_data.evaluation.evaluating, "evaluate", evaluate)
    monkeypatch.setattr(asr_data.evaluation.evaluating, "sweep", sweep)
    return calls


def test_every_measure_with_its_interval(asked: list[Any], tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    result = invoke("out", "--gold", "rejected=marks", "--tolerance", "3", "--group", "id", "--json", str(target))
    assert result.exit_code == 0, result.output
    assert asked == [(Path("out"), None, GoldOptions("rejected=marks", "id", 0.5, 3, 2000, 0))]
    for text in (
        "rejected=marks (errors)",
        "50 of 41 prompts; left out: 7 without gold labels, 2 label_mismatch",
        "25.0% of 1,000 labelled tokens; calling all of them faulty has F1 0.400",
        "AUROC of token rewards within a response",
        "0.250 to 0.750",
    ):
        assert text in result.output
    written = json.loads(target.read_text(encoding="utf-8"))
    assert written["measures"]["purity"] == {"value": 0.5, "low": 0.25, "high": 0.75, "responses": 12}
    assert written["measures"]["f1"]["value"] is None
    assert written["evaluated"]["unreadable"] == {"label_mismatch": 2}
    assert MaskConfig.model_validate(written["settings"]) == MaskConfig()


def test_a_sweep_is_a_table_and_files(asked: list[Any], tmp_path: Path) -> None:
    table, figures = tmp_path / "sweep.csv", tmp_path / "sweep.json"
    result = invoke("out", "--sweep", "--by", "purity", "--top", "1", "--csv", str(table), "--json", str(figures))
    assert result.exit_code == 0, result.output
    assert asked == [(Path("out"), None, GoldOptions(), "purity")]
    for text in (
        "own:",
        "+0.125",
        "-0.250 to 0.500",
        "3 settings by purity",
        "--segmenter step",
        "judged on the other: 0.625",
    ):
        assert text in result.output
    with table.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4  # the own setting first
    assert lines[1]["options"].startswith("--segmenter step --baseline")
    assert (lines[1]["better"], lines[1]["purity_low"], lines[1]["f1"]) == ("0.125", "0.25", "")
    written = json.loads(figures.read_text(encoding="utf-8"))
    assert written["settings"][0]["settings"]["segmenter"]["kind"] == "step"
    assert (written["held_out"], written["own_held_out"]) == (0.625, 0.375)


def test_by_stands_with_sweep(asked: list[Any]) -> None:
    result = invoke("out", "--by", "f1")
    assert result.exit_code == 2
    assert "--by and --top belong to --sweep" in result.output
    assert asked == []


def test_a_file_that_cannot_be_written(asked: list[Any], tmp_path: Path) -> None:
    result = invoke("out", "--json", str(tmp_path / "nowhere" / "figures.json"))
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk(asked: list[Any]) -> None:
    for option in ("--json", "--csv"):
        result = invoke("out", option, "/dev/full")
        assert result.exit_code == 1
        assert "error: /dev/full: cannot be written: No space left on device" in result.output


def test_no_such_directory(tmp_path: Path) -> None:
    result = invoke(str(tmp_path / "nothing"))
    assert result.exit_code == 1
    assert "is not a finished output of asr-annotate" in " ".join(result.output.split())
