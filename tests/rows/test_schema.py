from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.errors import InputError
from asr_data.rows.schema import SchemaBuilder, to_arrow, unify


def build(*chunks: list[Any]) -> pa.Schema:
    builder, index = SchemaBuilder("file.jsonl"), 0
    for chunk in chunks:
        builder.add([(index + offset, {"x": value}) for offset, value in enumerate(chunk)])
        index += len(chunk)
    return builder.finish()


@pytest.mark.parametrize("split", [True, False], ids=["across chunks", "in one chunk"])
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (1, 2.5, pa.float64()),
        (None, "a", pa.string()),
        ({"a": 1}, {"b": "x"}, pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([], [True], pa.list_(pa.bool_())),
        ({}, {"a": 1}, pa.struct([("a", pa.int64())])),
        ({}, None, pa.null()),
        ([{}], [], pa.list_(pa.null())),
    ],
)
def test_types_join(first: Any, second: Any, expected: pa.DataType, split: bool) -> None:
    schema = build([first], [second]) if split else build([first, second])
    assert schema.field("x").type == expected


@pytest.mark.parametrize("split", [True, False], ids=["across chunks", "in one chunk"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("a", ["b"]), (1, "a"), (True, 1), (1.5, True), ({"a": 1}, [1]), ({"a": 1}, {"a": "b"})],
)
def test_types_that_do_not_join_name_column_file_types_and_rows(first: Any, second: Any, split: bool) -> None:
    chunks = ([None, first], [None, second]) if split else ([None, first, None, second],)
    with pytest.raises(InputError, match=r"file\.jsonl: column 'x' mixes .*\(first in row 1\).*\(first in row 3\)"):
        build(*chunks)


def test_integer_beyond_64_bits_names_the_row() -> None:
    with pytest.raises(InputError, match="row 1, column 'x'"):
        build([1, 2**70])


def test_records_come_back_as_they_were(tmp_path: Any) -> None:
    records = [{"a": 1, "m": [{"role": "user", "extra": {}}]}, {"a": None, "m": []}, {"a": 3}]
    builder = SchemaBuilder("file")
    builder.add(list(enumerate(records)))
    table = to_arrow(records, builder.finish())
    pq.write_table(table, tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [
        {"a": 1, "m": [{"role": "user", "extra": None}]},
        {"a": None, "m": []},
        {"a": 3, "m": None},
    ]


def test_to_arrow_names_the_column_at_fault() -> None:
    with pytest.raises(InputError, match="column 'a'"):
        to_arrow([{"a": "text"}], pa.schema([("a", pa.int64())]))
    with pytest.raises(InputError, match="column 'a'"):
        to_arrow([{"a": "text"}], pa.schema([("a", pa.null())]))


def test_unify_names_both_files() -> None:
    one, two = pa.schema([("a", pa.string())]), pa.schema([("a", pa.int64()), ("b", pa.bool_())])
    assert unify([("f", pa.schema([("a", pa.null())])), ("g", two)]) == two
    with pytest.raises(InputError, match=r"'a' is string in f and int64 in g"):
        unify([("f", one), ("g", two)])


def test_nesting_has_an_end() -> None:
    value: Any = 1
    for _ in range(100):
        value = [value]
    assert build([value]).names == ["x"]
    with pytest.raises(InputError, match="'x' is nested more than 100"):
        build([[value]])
