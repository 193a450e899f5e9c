from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from asr_data.errors import ConfigError
from asr_data.rows import Source, open_source
from asr_data.types import RejectedRow

ROWS = [
    {
        "prompt": f"q {n}",
        "chosen": f"yes {n}",
        "rejected": "no",
        "topic": "ab"[n % 2],
        "score": None if n == 4 else n / 2,
    }
    for n in range(9)
]


def selected(source: Source, size: int = 4) -> tuple[list[int], dict[int, str]]:
    """Indices of the rows that are read, and the codes of the others."""
    rows = [row for batch in source.batches(size) for row in batch]
    codes = {row.index: row.code for row in rows if isinstance(row, RejectedRow)}
    return [row[0] for row in rows if not isinstance(row, RejectedRow)], codes


@pytest.fixture(params=["jsonl", "parquet", "memory"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    rows = datasets.Dataset.from_list(ROWS)
    if request.param == "memory":
        return open_source(rows)
    path = tmp_path / f"in.{request.param}"
    if request.param == "parquet":
        rows.to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return open_source(path)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("topic = 'b' AND score > 1", [3, 5, 7]),
        ("score > 1", [3, 5, 6, 7, 8]),  # null is no answer
        ("NOT score > 1", [0, 1, 2]),
        ("prompt LIKE '%8'", [8]),
        ("1 = 1", list(range(9))),
    ],
)
def test_rows_that_do_not_meet_it_are_left_out_by_name(source: Source, where: str, rows: list[int]) -> None:
    left_out = {n: "left_out" for n in range(9) if n not in rows}
    assert selected(source.selecting(where)) == (rows, left_out)
    assert selected(source.selecting(where), size=100) == (rows, left_out)


def test_no_condition_leaves_nothing_out(source: Source) -> None:
    assert selected(source.selecting(None)) == (list(range(9)), {})


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("score >", "is no condition in SQL"),
        ("nope = 1", "no column 'nope'; there are prompt, chosen, rejected, topic, score"),
        ("score > avg(score)", "each row alone"),
        ("score > 99", "none of the 9 rows of .* meets it"),
        ("CAST(topic AS int) > 1", "conversion from"),
    ],
)
def test_what_cannot_be_decided_is_refused_at_once(source: Source, where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        source.selecting(where)


def test_a_row_that_cannot_be_read_keeps_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS[:2]) + "{\n", encoding="utf-8")
    assert selected(open_source(path).selecting("score > 0")) == ([1], {0: "left_out", 2: "invalid_json"})
