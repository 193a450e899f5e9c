"""Numpy arrays of many rows as one Arrow list column, and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from asr_data.types import Int64, Side


def list_column(lists: Sequence[Any], kind: pa.DataType) -> pa.Array[Any]:
    """Arrays as one list column, one array per row; None becomes a null row, NaN a null value."""
    parts = [part for part in lists if part is not None]
    ends = np.cumsum([0 if part is None else len(part) for part in lists])
    values: Any = pa.array(np.concatenate(parts) if parts else np.zeros(0), type=kind, from_pandas=True)
    if len(parts) == len(lists):
        return pa.ListArray.from_arrays(_offsets(ends), values)
    mask: Any = pa.array([part is None for part in lists], type=pa.bool_())
    return pa.ListArray.from_arrays(_offsets(ends), values, mask=mask)


def list_column_of(flat: Any, offsets: Int64, picked: Any, kind: pa.DataType) -> pa.Array[Any]:
    """Some of the stretches of a flat array as a list column; NaN becomes a null value.

    Args:
        flat: ``[N]``.
        offsets: int64 ``[R + 1]``; stretch r is ``[offsets[r], offsets[r + 1])``.
        picked: indices of the stretches to take, in order.
        kind: type of the values.
    """
    values: Any = np.concatenate([flat[offsets[r] : offsets[r + 1]] for r in picked])
    ends = _offsets(np.cumsum(np.diff(offsets)[picked]))
    return pa.ListArray.from_arrays(ends, pa.array(values, type=kind, from_pandas=True))


def arrays_of(column: Any) -> list[Any]:
    """The rows of a list column without null rows, as numpy arrays; a null value is NaN."""
    values, offsets = column.values.to_numpy(zero_copy_only=False), column.offsets.to_numpy()
    return [values[begin:end] for begin, end in pairwise(offsets)]


def response_arrays(batch: pa.RecordBatch, sides: Sequence[Side], name: str) -> list[Any]:
    """The list column ``S_name`` of all sides, one array per response; the responses of a row are adjacent."""
    columns = [arrays_of(batch.column(f"{side}_{name}")) for side in sides]
    return [array for row in zip(*columns, strict=True) for array in row]


def response_values(batch: pa.RecordBatch, sides: Sequence[Side], name: str) -> Any:
    """The same as one flat array."""
    arrays = response_arrays(batch, sides, name)
    return np.concatenate(arrays) if arrays else np.zeros(0)


def response_scalars(batch: pa.RecordBatch, sides: Sequence[Side], name: str) -> Any:
    """The column ``S_name`` of all sides, one value per response; the responses of a row are adjacent."""
    columns = [batch.column(f"{side}_{name}").to_numpy(zero_copy_only=False) for side in sides]
    return np.stack(columns, axis=1).ravel()


def _offsets(ends: Any) -> Any:
    return pa.array(np.concatenate([[0], ends]).astype(np.int32), type=pa.int32())
