"""``evaluate`` on the command line: what it prints and writes for given figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import asr_data.evaluation.comparing
import asr_data.evaluation.evaluating
from asr_data.config import MaskConfig, Step
from asr_data.evaluation.comparing import Compared, Contender
from asr_data.evaluation.evaluating import Evaluation, Sweep, SweptSetting
from asr_data.evaluation.labelled_rows import Evaluated, GoldOptions
from asr_data.evaluation.measures import FINDINGS, TITLES
from asr_data.masks.positions import KeptByPosition
from asr_data.statistics.bootstrap import Comparison, Estimate
from asr_data_cli.app import build_app

EVALUATED = Evaluated(50, 7, {"label_mismatch": 2}, 41, "rejected=marks (errors)", 1_000, 250)
FIGURES = {name: Estimate(0.5, 0.25, 0.75, 12) for name in TITLES} | {"f1": Estimate(None, None, None, 0)}


CONTROLS = {"position": dict.fromkeys(FINDINGS, Estimate(0.625, 0.5, 0.75, 12))}
AHEAD = {"position": dict.fromkeys(FINDINGS, Comparison(Estimate(-0.125, -0.25, 0.0625, 12), 0.375))}


def invoke(*args: str, columns: int = 200) -> Result:
    return CliRunner().invoke(build_app(), ["evaluate", *args], env={"COLUMNS": str(columns)})


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
        "AUROC of token rewards",
        "0.250 to 0.750",
    ):
        assert text in result.output
    written = json.loads(target.read_text(encoding="utf-8"))
    assert written["measures"]["purity"] == {"value": 0.5, "low": 0.25, "high": 0.75, "responses": 12}
    assert written["measures"]["f1"]["value"] is None
    assert written["evaluated"]["unreadable"] == {"label_mismatch": 2}
    assert MaskConfig.model_validate(written["settings"]) == MaskConfig()


def test_controls_beside_the_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """At 80 columns nothing is cut: what is printed is the numbers that were given."""
    by = KeptByPosition((79, 54, 44, 27, 22), (100,) * 5, 50)
    found = Evaluation(EVALUATED, MaskConfig(), 0.125, FIGURES, CONTROLS, AHEAD, {"chosen": by})
    monkeypatch.setattr(asr_data.evaluation.evaluating, "evaluate", lambda *_, **__: found)
    figures, table = tmp_path / "figures.json", tmp_path / "figures.csv"
    result = invoke("out", "--json", str(figures), "--csv", str(table), columns=80)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["AUROC", "of", "token", "rewards", "0.500", "0.250", "to", "0.750", "12"] in lines
    assert ["position", "0.625", "-0.125", "-0.250", "to", "+0.062", "0.375"] in lines
    assert ["chosen", "79", "%", "54", "%", "44", "%", "27", "%", "22", "%"] in lines
    assert "warning: chosen: the mask is nearly a function of position" in result.stderr
    written = json.loads(figures.read_text(encoding="utf-8"))
    assert written["controls"]["position"]["f1"]["value"] == 0.625
    assert written["controls"]["position"]["f1"]["ahead"]["least"] == 0.375
    assert written["kept_by_fifth"]["chosen"]["kept"] == [79, 54, 44, 27, 22]
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(TITLES) + len(FINDINGS)
    assert [rows[0][name] for name in ("measure", "control", "value", "ahead")] == ["token_auroc", "", "0.5", ""]
    last = rows[-1]
    assert [last[name] for name in ("measure", "control", "ahead", "ahead_low", "least")] == [
        "pairs_last_step", "position", "-0.125", "-0.25", "0.375",
    ]  # fmt: skip


def test_several_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    same = {name: Comparison(Estimate(0.0, -0.5, 0.5, 12), 0.25) for name in TITLES}
    contenders = [
        Contender(Path("one"), MaskConfig(), 3, FIGURES, {}, {}),
        Contender(Path("two"), MaskConfig(segmenter=Step()), 0, FIGURES, same, {}),
    ]

    def compare(directories: list[Path], tokenizer: Any, *, options: GoldOptions) -> Compared:
        asked.append((directories, options.side))
        return Compared(EVALUATED, 47, 40, contenders, CONTROLS, AHEAD)

    monkeypatch.setattr(asr_data.evaluation.comparing, "compare", compare)
    figures, table = tmp_path / "figures.json", tmp_path / "figures.csv"
    arguments = ("one", "two", "--side", "rejected", "--json", str(figures), "--csv", str(table))
    result = invoke(*arguments, columns=80)
    assert result.exit_code == 0, result.output
    assert asked == [([Path("one"), Path("two")], "rejected")]
    assert max(map(len, result.stdout.splitlines())) <= 80
    for text in (
        "47 of 40 prompts",
        "one; 3 rows left out, which another has not",
        "B against A",
        "A against position",
    ):
        assert text in result.stdout
    written = json.loads(figures.read_text(encoding="utf-8"))
    assert [one["left_out"] for one in written["directories"]] == [3, 0]
    assert written["directories"][1]["ahead"]["f1"]["low"] == -0.5
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["directory"] for row in rows] == ["one"] * len(TITLES) + ["two"] * len(TITLES) + ["one"] * len(FINDINGS)
    refused = invoke("one", "two", "--sweep")
    assert refused.exit_code == 2
    assert "--sweep tries settings on the scores of one directory, and there are 2" in refused.output


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
