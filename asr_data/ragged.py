"""List columns as flat NumPy arrays and offsets, and back.

``offsets`` is int64 ``[rows + 1]`` from 0; row r holds ``values[offsets[r] : offsets[r + 1]]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asr_data.types import Bool, Int64


class Ragged:
    """A list column of numbers or booleans.

    Args:
        column: of type ``list<T>``.

    Attributes:
        values: ``[total]``; where an element is null: NaN among floats, 0 among integers, false among booleans.
        offsets: int64 ``[rows + 1]``, from 0.
        null: bool ``[rows]``, the list or an element of it is null.
        unknown: bool ``[total]``, the element is null.
    """

    def __init__(self, column: pa.Array[Any]) -> None:
        lists = cast("pa.ListArray[Any]", column)
        lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = lists.flatten()
        self.offsets: Int64 = offsets_of(lengths)
        self.unknown: Bool = np.asarray(flat.is_null())
        self.null: Bool = np.asarray(column.is_null()) | self.any_of(self.unknown)
        if flat.null_count and not pa.types.is_floating(flat.type):  # to_numpy makes NaN of the nulls among floats
            flat = flat.fill_null(False if pa.types.is_boolean(flat.type) else 0)
        self.values: NDArray[Any] = flat.to_numpy(zero_copy_only=False)

    @property
    def lengths(self) -> Int64:
        """int64 ``[rows]``."""
        return np.diff(self.offsets)

    @property
    def row(self) -> Int64:
        """Row of each value, int64 ``[total]``."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def arrays(self) -> list[NDArray[Any]]:
        """Each row's values."""
        return np.split(self.values, self.offsets[1:-1]) if len(self.offsets) > 1 else []

    def any_of(self, bad: Bool) -> Bool:
        """Rows that have a true among ``bad`` ``[total]``."""
        return row_sums(bad, self.offsets) > 0

    def first(self) -> NDArray[Any]:
        """First value of each row; 0 where it has none."""
        return self._edge(self.offsets[:-1])

    def last(self) -> NDArray[Any]:
        """Last value of each row; 0 where it has none."""
        return self._edge(self.offsets[1:] - 1)

    def falls(self, *, strictly: bool) -> Bool:
        """Rows whose integers do not increase (or, not strictly, decrease) from one to the next."""
        step = np.diff(self.values.astype(np.int64), prepend=0)
        within = np.ones(len(self.values), dtype=bool)
        within[self.offsets[:-1][self.lengths > 0]] = False
        return self.any_of(within & ((step <= 0) if strictly else (step < 0)))

    def _edge(self, position: Int64) -> NDArray[Any]:
        result = np.zeros(len(self.offsets) - 1, dtype=self.values.dtype)
        filled = self.lengths > 0
        result[filled] = self.values[position[filled]]
        return result


def offsets_of(lengths: Int64 | Sequence[int]) -> Int64:
    """Offsets of rows with these lengths."""
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def row_sums(values: NDArray[Any], offsets: Int64) -> Int64:
    """Sum of each row's integers or booleans, int64 ``[rows]``."""
    total = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    return total[offsets[1:]] - total[offsets[:-1]]


def interleaved(columns: Sequence[pa.Array[Any]]) -> tuple[NDArray[Any], Int64]:
    """Several list columns as one: row 0 of each in turn, then row 1 of each, and so on; values and offsets."""
    read = [Ragged(column) for column in columns]
    offsets = offsets_of(np.stack([one.lengths for one in read], axis=1).ravel())
    parts = [part for row in zip(*(one.arrays() for one in read), strict=True) for part in row]
    return np.concatenate(parts) if parts else read[0].values, offsets


def list_column(arrays: Sequence[NDArray[Any] | None], kind: pa.DataType) -> pa.Array[Any]:
    """Arrays as a column of type ``list<kind>``; None becomes a null list, and NaN a null element."""
    lists = [part for part in arrays if part is not None]
    values: Any = np.concatenate(lists) if lists else np.zeros(0, dtype=kind.to_pandas_dtype())
    offsets: Any = pa.array(
        offsets_of([0 if part is None else len(part) for part in arrays]).astype(np.int32), type=pa.int32()
    )
    absent: Any = pa.array([part is None for part in arrays], type=pa.bool_()) if len(lists) < len(arrays) else None
    return pa.ListArray.from_arrays(offsets, pa.array(values, type=kind, from_pandas=True), mask=absent)
