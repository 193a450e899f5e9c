"""``inspect`` and ``validate`` on a directory in memory: 3 of 4 input rows annotated, in two batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

import asr_data.storage
from asr_data.rows import Layout
from asr_data.types import RejectedRow
from asr_data_cli.app import build_app


def record(index: int) -> dict[str, Any]:
    sides = {
        f"x_{side}_{name}": value
        for side in ("chosen", "rejected")
        for name, value in {
            "mask": [True, False],
            "token_reward": [1.0, -1.0],
            "seg_text_start": [0, 4],
            "seg_reward": [1.0, -1.0],
            "seg_keep": [True, False],
            "reward": 0.0,
        }.items()
    }
    texts = {"question": f"prompt {index}", "chosen": f"good{index}", "rejected": f"poor{index}"}
    return {**texts, **sides, "x_asr_row": index, "x_asr_notes": []}


class Directory:
    path = Path("annotated")
    manifest = SimpleNamespace(
        stage="masked",
        prefix="x_",
        sides=("chosen", "rejected"),
        counts=SimpleNamespace(rows=4, annotated=3),
        mask=None,
        plan=SimpleNamespace(
            response_text=None,
            layout=Layout(
                kind="preference", columns={"prompt": "question", "chosen": "chosen", "rejected": "rejected"}
            ),
        ),
    )

    def data_batches(self, batch_rows: int = 1_000, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        for indices in ((0, 2), (3,)):
            batch = pa.RecordBatch.from_pylist([record(index) for index in indices])
            yield batch if columns is None else batch.select(list(columns))

    def rows_at(self, positions: Sequence[int]) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([record((0, 2, 3)[position]) for position in positions])

    def rejects(self) -> Iterator[RejectedRow]:
        yield RejectedRow(1, "empty_response", "chosen is empty")


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Directory:
    made = Directory()
    monkeypatch.setattr(asr_data.storage, "open_output", lambda path: made)
    return made


def call(*args: str) -> Result:
    return CliRunner().invoke(build_app(), list(args), env={"COLUMNS": "100"})


def test_first_rows(directory: Directory) -> None:
    shown = call("inspect", "annotated").stdout
    assert [shown.count(text) for text in ("good│[-0-]", "good│[-2-]", "poor│[-3-]")] == [1, 1, 1]
    assert "prompt 2" in shown


def test_named_rows_one_side_with_values(directory: Directory) -> None:
    shown = call("inspect", "annotated", "--row", "3", "--side", "rejected", "--values").stdout
    assert "poor{1}│[-3-]{-1}" in shown
    assert "good" not in shown
    assert "row 0" not in shown


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1", "row 1 was rejected: empty_response: chosen is empty"),
        ("9", "there is no row 9: the input has rows 0 to 3"),
    ],
)
def test_row_that_is_not_there(directory: Directory, row: str, message: str) -> None:
    result = call("inspect", "annotated", "--row", row)
    assert result.exit_code == 1
    assert message in result.stderr


def test_rows_and_a_sample_are_not_asked_for_together(directory: Directory) -> None:
    result = call("inspect", "annotated", "--row", "0", "--sample", "2")
    assert (result.exit_code, "give one of them" in result.stderr) == (2, True)


def test_side_that_is_not_there(directory: Directory) -> None:
    result = call("inspect", "annotated", "--side", "completion")
    assert result.exit_code == 2
    assert "annotated has chosen, rejected" in result.stderr


def test_only_scores(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = SimpleNamespace(**{**vars(directory.manifest), "stage": "scored"})
    monkeypatch.setattr(directory, "manifest", scored, raising=False)
    result = call("inspect", "annotated")
    assert result.exit_code == 1
    assert "asr-annotate mask annotated -o DIR" in result.stderr


def test_validate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr_data.storage, "validate", lambda path: [])
    result = call("validate", "annotated")
    assert (result.exit_code, result.stdout) == (0, "valid: annotated\n")
    problems = [
        SimpleNamespace(file="data/[a].parquet", row=7, message="mask too short"),
        SimpleNamespace(file="scores", row=None, message="gone"),
    ]
    monkeypatch.setattr(asr_data.storage, "validate", lambda path: problems)
    result = call("validate", "annotated")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "data/[a].parquet, row 7: mask too short",
        "scores: gone",
        "2 problems in annotated",
    ]


def test_curve_of_token_rewards(directory: Directory) -> None:
    shown = call("inspect", "annotated", "--row", "3", "--side", "rejected", "--curve").stdout
    assert "  █▁ -1 to 1" in shown
