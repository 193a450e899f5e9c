"""The segmenter protocol and its one entry point, ``split``, over flat buffers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from asr_data.errors import InputError
from asr_data.segments.context import SplitContext
from asr_data.types import Float32, Int64


class Segmenter(Protocol):
    """Anything that says where segments start.

    ``starts(values, row_offsets, context)`` gets checked input: ``values`` float32 ``[N]``, finite, and ``row_offsets``
    int64 ``[R + 1]``, ascending from 0 to N. It returns int64 flat indices into ``values``, ascending; the first start
    of every row that is not empty is the row's offset, and an empty row has none.
    """

    def starts(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:
        """Return the flat segment starts."""
        ...


def split(
    values: ArrayLike,
    row_offsets: ArrayLike,
    segmenter: Segmenter,
    context: SplitContext = SplitContext(),  # noqa: B008 - frozen
) -> Int64:
    """Cut rows of token rewards into segments.

    Args:
        values: ``[N]`` token rewards of all rows, one after the other; taken as float32.
        row_offsets: ``[R + 1]``; row ``r`` is ``values[row_offsets[r]:row_offsets[r + 1]]``.
        segmenter: the rule, such as ``Schmitt(delta=0.1)``.
        context: what is known of the rows beside their rewards, such as the baseline.

    Returns:
        int64 ``[K]``, flat indices into ``values`` at which segments start, ascending. A segment ends where the next
        one starts, or at the end of its row.

    Raises:
        InputError: wrong shape or type, offsets that do not ascend from 0 to N, or a reward that is not finite.
        ConfigError: something in the context that is invalid or does not fit the arrays.
    """
    flat_values, offsets = check_rows(values, row_offsets)
    return segmenter.starts(flat_values, offsets, context)


def check_rows(values: ArrayLike, row_offsets: ArrayLike) -> tuple[Float32, Int64]:
    """Return ``values`` as float32 and ``row_offsets`` as int64, contiguous, or raise InputError."""
    given = np.asarray(values)
    if given.ndim != 1 or given.dtype.kind not in "fiu":
        raise InputError(f"values must be a flat array of numbers, got dtype {given.dtype} and shape {given.shape}")
    offsets = _as_offsets(row_offsets, given.size)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is reported as such
        flat = np.ascontiguousarray(given, dtype=np.float32)
    finite = np.isfinite(flat)
    if not finite.all():
        position = int(np.argmin(finite))
        row = int(np.searchsorted(offsets, position, side="right")) - 1
        raise InputError(
            f"row {row}, token {position - int(offsets[row])}: the reward is {given[position]}; "
            "every reward must be a finite float32"
        )
    return flat, offsets


def _as_offsets(row_offsets: ArrayLike, size: int) -> Int64:
    given = np.asarray(row_offsets)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu":
        raise InputError(
            f"row_offsets must be a flat array of R + 1 integers, got dtype {given.dtype} and shape {given.shape}"
        )
    offsets: Int64 = np.ascontiguousarray(given, dtype=np.int64)
    if offsets[0] != 0 or offsets[-1] != size:
        raise InputError(
            f"row_offsets must begin with 0 and end with the number of values, {size}; "
            f"they run from {offsets[0]} to {offsets[-1]}"
        )
    falls = np.flatnonzero(offsets[1:] < offsets[:-1])
    if falls.size:
        row = int(falls[0])
        raise InputError(f"row_offsets must not descend; row {row} runs from {offsets[row]} to {offsets[row + 1]}")
    return offsets
