"""Arrow types as they are stored, and values that stay what they are: expected values are written out."""

from __future__ import annotations

import io
import uuid
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.errors import InputError
from asr_data.rows.arrow_types import cast_notes, conform, stored_schema, stored_type

ID = uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")
MAP = pa.map_(pa.string(), pa.int64())
LISTS = [["a"], [], None, ["b", "c"]]
OBJECT = pa.struct([("d", pa.string())])
VIEW, TEXTS = pa.string_view(), pa.list_(pa.string())
VIEWS = pa.dictionary(pa.int32(), VIEW)
PAIRS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.int64())]))


def encoded(values: list[Any]) -> Any:
    """Text as pandas' Categorical has it."""
    return pa.array(values).dictionary_encode()


CASTS: list[tuple[Any, pa.DataType, list[Any]]] = [
    (pa.array(["a", None], pa.string_view()), pa.string(), ["a", None]),
    (pa.array([b"\xff", None], pa.binary_view()), pa.binary(), [b"\xff", None]),
    (pa.array(LISTS, pa.list_view(pa.string())), pa.list_(pa.string()), LISTS),
    (pa.array([[1], None], pa.large_list_view(pa.int8())), pa.large_list(pa.int8()), [[1], None]),
    (pa.array([[("a", 1)], [], None], MAP), PAIRS, [[{"key": "a", "value": 1}], [], None]),
    (encoded(["x", "y", None, "x"]), pa.string(), ["x", "y", None, "x"]),
    (pa.array([ID.bytes, None], pa.uuid()), pa.string(), [str(ID), None]),
    (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None], pa.int8())), pa.bool_(), [True, False, None]),
    (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), pa.string(), ["a", "a", "b"]),
    (encoded(["x", "y", None]).cast(VIEWS), pa.string(), ["x", "y", None]),  # as polars writes Categorical and Enum
    (pa.ListArray.from_arrays([0, 1, 3], encoded(["x", "y", "x"]).cast(VIEWS)), TEXTS, [["x"], ["y", "x"]]),
    (pa.RunEndEncodedArray.from_arrays([2, 3], pa.array(["a", None], VIEW)), pa.string(), ["a", "a", None]),
    (pa.array([1, 3_000_000], pa.time32("s")), pa.time32("ms"), None),
    (pa.StructArray.from_arrays([encoded(["x", "y"])], ["d"]), OBJECT, [{"d": "x"}, {"d": "y"}]),
    (pa.ListArray.from_arrays([0, 1, 3], encoded(["x", "y", "x"])), pa.list_(pa.string()), [["x"], ["y", "x"]]),
]


@pytest.mark.parametrize(("array", "kind", "values"), CASTS, ids=lambda one: str(getattr(one, "type", ""))[:30])
def test_a_type_that_datasets_lacks_is_stored_as_the_nearest(array: Any, kind: pa.DataType, values: Any) -> None:
    assert stored_type(array.type, "x") == kind
    if values is None:
        return
    stored = conform(array, kind)
    assert (stored.type, stored.to_pylist()) == (kind, values)
    assert conform(array.slice(1), kind).to_pylist() == values[1:]  # a slice counts from its own first value


KEPT = [
    *(pa.date32(), pa.time32("ms"), pa.time64("ns"), pa.timestamp("ns"), pa.timestamp("us", tz="Mars/Phobos")),
    *(pa.duration("ns"), pa.decimal128(10, 2), pa.decimal256(50, 2), pa.float16(), pa.binary(4), pa.uint64()),
    *(pa.large_string(), pa.large_list(pa.string()), pa.list_(pa.float32(), 2), pa.null(), pa.json_()),
]


@pytest.mark.parametrize(
    "kind", [*KEPT, *(array.type for array, _, _ in CASTS), pa.date64(), pa.timestamp("s"), pa.decimal32(5, 2)]
)
def test_what_is_stored_is_known_to_parquet_and_to_datasets(kind: pa.DataType) -> None:
    schema = stored_schema(pa.schema([("x", kind)]))
    file = io.BytesIO()
    pq.write_table(schema.empty_table(), file)
    assert pq.read_schema(file).equals(schema)
    assert datasets.Features.from_arrow_schema(schema).arrow_schema.field("x").type == schema.field("x").type


@pytest.mark.parametrize("kind", KEPT)
def test_other_types_are_kept(kind: pa.DataType) -> None:
    assert stored_type(kind, "x") == kind


@pytest.mark.parametrize(
    "kind",
    [pa.month_day_nano_interval(), pa.dense_union([pa.field("a", pa.int8())]), pa.list_(pa.month_day_nano_interval())],
)
def test_what_cannot_be_stored_is_refused_by_column_and_type(kind: pa.DataType) -> None:
    with pytest.raises(InputError, match=r"column 'when' is (month_day_nano_interval|dense_union)"):
        stored_type(kind, "when")


def test_an_object_with_one_key_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"column 'x' .* one key twice"):
        stored_type(pa.struct([("a", pa.int8()), ("a", pa.string())]), "x")


def test_a_cast_is_told_in_one_line_and_an_empty_object_is_not() -> None:
    before = pa.schema([("a", pa.string_view()), ("b", pa.string()), ("c", pa.list_(pa.struct([])))])
    assert list(cast_notes(before, stored_schema(before))) == ["column 'a' is string_view, and is stored as string"]


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (pa.array([{"a": 1}, None]), pa.struct([("b", pa.string()), ("a", pa.int64())]), [{"b": None, "a": 1}, None]),
        (pa.array([None, None]), pa.list_(pa.string()), [None, None]),
        (pa.array([1, None], pa.int64()), pa.float64(), [1.0, None]),
        (pa.array([[{"a": 1}], None]), pa.list_(pa.struct([("a", pa.float64())])), [[{"a": 1.0}], None]),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), pa.list_(pa.int16(), 2), [[1, 2], None]),
    ],
)
def test_a_file_conforms_to_the_types_of_all(array: Any, kind: pa.DataType, values: list[Any]) -> None:
    assert conform(array, kind).to_pylist() == values


def test_a_number_is_not_rounded_on_the_way() -> None:
    with pytest.raises(pa.ArrowInvalid):
        conform(pa.array([2**53 + 1]), pa.float64())


def test_the_payload_of_a_nan_is_kept() -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF0000000000001], dtype=np.uint64)
    array: Any = pa.StructArray.from_arrays([pa.array(bits.view(np.float64)), encoded(["a", "b"])], ["f", "d"])
    kind = pa.struct([("f", pa.float64()), ("d", pa.string())])
    stored: Any = conform(array, kind)
    assert stored.field(0).to_numpy().view(np.uint64).tolist() == bits.tolist()
