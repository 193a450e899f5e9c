"""Where tokens stand in their responses."""

from __future__ import annotations

import numpy as np

from asr_data.types import Bool, Float64, Int64


def relative_position(counted: Bool, row_offsets: Int64) -> Float64:
    """Where each token stands in its response: the k-th of n counted ones at ``(k + ½) / n``, float64 ``[N]``.

    A token that is not counted stands where the last counted one before it does, else at the first one's place.

    Args:
        counted: bool ``[N]``, such as tokens with text.
        row_offsets: int64 ``[R + 1]``.
    """
    place, count = places(counted, row_offsets)
    return (np.maximum(place, 0) + 0.5) / np.maximum(count, 1)


def places(counted: Bool, row_offsets: Int64) -> tuple[Int64, Int64]:
    """Return the place of each token among its response's counted ones, and how many these are, int64 ``[N]`` each.

    A token that is not counted has the place of the last one before it, -1 where there is none.
    """
    row = np.repeat(np.arange(row_offsets.size - 1), np.diff(row_offsets))
    total = np.concatenate(([0], np.cumsum(counted, dtype=np.int64)))
    before = total[1:] - total[row_offsets[:-1]][row] - 1
    count = (total[row_offsets[1:]] - total[row_offsets[:-1]])[row]
    return before, count
