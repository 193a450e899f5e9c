"""List columns as flat arrays and back: worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from asr_data.ragged import Ragged, interleaved, list_column, row_sums


def column(values: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """A list column of exactly this type."""
    return pa.array(values, type=pa.list_(kind))


def test_a_column_is_flat_values_and_offsets() -> None:
    read = Ragged(column([[3, 4], [], None, [5]], pa.int32()))
    assert read.values.tolist() == [3, 4, 5]
    assert read.offsets.tolist() == [0, 2, 2, 2, 3]
    assert read.lengths.tolist() == [2, 0, 0, 1]
    assert read.row.tolist() == [0, 0, 3]
    assert read.null.tolist() == [False, False, True, False]
    assert [part.tolist() for part in read.arrays()] == [[3, 4], [], [], [5]]
    assert (read.first().tolist(), read.last().tolist()) == ([3, 0, 0, 5], [4, 0, 0, 5])


def test_a_slice_counts_from_its_own_first_row() -> None:
    read = Ragged(column([[1], [2, 3], [4]], pa.int32()).slice(1))
    assert (read.values.tolist(), read.offsets.tolist()) == ([2, 3, 4], [0, 2, 3])


@pytest.mark.parametrize(
    ("kind", "given", "flat"),
    [(pa.int32(), [1, None], [1, 0]), (pa.bool_(), [True, None], [True, False])],
)
def test_a_null_element_is_marked_and_neutral(kind: pa.DataType, given: list[Any], flat: list[Any]) -> None:
    read = Ragged(column([given], kind))
    assert (read.values.tolist(), read.unknown.tolist(), read.null.tolist()) == (flat, [False, True], [True])


def test_a_null_among_floats_is_nan() -> None:
    read = Ragged(column([[0.5, None]], pa.float32()))
    assert read.values.dtype == np.float32
    assert np.isnan(read.values).tolist() == read.unknown.tolist() == [False, True]


def test_a_row_falls_where_a_value_is_not_above_the_one_before_it_in_the_row() -> None:
    read = Ragged(column([[1, 2], [2, 2], [1, 0], []], pa.int32()))
    assert read.falls(strictly=True).tolist() == [False, True, True, False]
    assert read.falls(strictly=False).tolist() == [False, False, True, False]


def test_sums_are_of_each_row() -> None:
    flags = np.array([True, True, False, True])
    assert row_sums(flags, np.array([0, 2, 2, 4])).tolist() == [2, 0, 1]


def test_columns_interleave_row_by_row() -> None:
    left, right = column([[1], [2, 3]], pa.int32()), column([[4, 5], []], pa.int32())
    values, offsets = interleaved([left, right])
    assert (values.tolist(), values.dtype, offsets.tolist()) == ([1, 4, 5, 2, 3], np.int32, [0, 1, 3, 5, 5])


def test_no_rows_interleave_to_no_values() -> None:
    values, offsets = interleaved([column([], pa.float32())] * 2)
    assert (values.tolist(), values.dtype, offsets.tolist()) == ([], np.float32, [0])


def test_arrays_become_a_list_column() -> None:
    made = list_column([np.array([0.5, np.nan], np.float32), None, np.zeros(0, np.float32)], pa.float32())
    assert made.type == pa.list_(pa.float32())
    assert made.to_pylist() == [[0.5, None], None, []]


@pytest.mark.parametrize("kind", [pa.int32(), pa.float32(), pa.bool_()])
def test_no_arrays_become_a_column_without_rows(kind: pa.DataType) -> None:
    assert list_column([], kind).equals(column([], kind))
