"""``report`` from words to one call of the library, and what it prints."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import asr_data.storage
import asr_data.view.report
import asr_data_cli.report
from asr_data_cli.app import build_app

MANIFEST = SimpleNamespace(tokenizer=SimpleNamespace(name="./policy"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def write(annotated: Any, path: Path, **options: Any) -> Any:
        made.append({"annotated": annotated, "path": path, **options})
        return asr_data.view.report.Report(path, 500, 12_345, 2_345_678)

    directory = SimpleNamespace(manifest=MANIFEST)
    monkeypatch.setattr(asr_data.storage, "open_output", lambda path: directory)
    monkeypatch.setattr(asr_data.view.report, "write_report", write)
    monkeypatch.setattr(asr_data_cli.report, "policy_tokenizer", lambda manifest, name: name or manifest.tokenizer.name)
    return made


def call(*words: str) -> Result:
    return CliRunner().invoke(build_app(), ["report", *words], env={"COLUMNS": "100"})


def test_defaults(calls: list[dict[str, Any]]) -> None:
    result = call("annotated", "-o", "r.html")
    assert result.exit_code == 0, result.output
    (made,) = calls
    assert made["path"] == Path("r.html")
    assert (made["rows"], made["sample"], made["seed"], made["gold"]) == (None, 500, 0, None)
    assert (made["tokenizer"], made["overwrite"]) == ("./policy", False)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines == [["rows", "500", "of", "12,345", "are", "shown"], ["size", "2.3", "MB"], ["output", "r.html"]]


def test_every_option(calls: list[dict[str, Any]]) -> None:
    words = "annotated -o r.html --row 3 --row 1 --seed 7 --gold chosen=x --tokenizer none --overwrite"
    assert call(*words.split()).exit_code == 0
    (made,) = calls
    assert (made["rows"], made["seed"], made["gold"], made["tokenizer"], made["overwrite"]) == (
        [3, 1],
        7,
        "chosen=x",
        None,
        True,
    )
    assert call("annotated", "-o", "r.html", "--sample", "9").exit_code == 0
    assert calls[1]["sample"] == 9


def test_rows_and_a_sample_are_not_asked_for_together(calls: list[dict[str, Any]]) -> None:
    result = call("annotated", "-o", "r.html", "--row", "0", "--sample", "2")
    assert (result.exit_code, "give one of them" in result.stderr, calls) == (2, True, [])
