"""``pivot``: a segment starts where the reward jumps."""

from __future__ import annotations

import numpy as np

from asr_data.compiled import compiled
from asr_data.types import Float32, Float64, Int64


def pivot_starts(values: Float32, row_offsets: Int64, tau: Float64) -> Int64:
    """Return the tokens t with ``abs(r_t − r_{t−1}) > tau`` and the first of each row; ``tau`` float64 ``[R]``."""
    starts = np.empty(values.size, dtype=np.int64)
    return starts[: _pivot(values, row_offsets, tau, starts)].copy()


@compiled(nogil=True)
def _pivot(values: Float32, row_offsets: Int64, tau: Float64, starts: Int64) -> int:
    count = 0
    for row in range(row_offsets.size - 1):
        begin, end, threshold = row_offsets[row], row_offsets[row + 1], tau[row]
        if begin == end:
            continue
        starts[count] = begin
        count += 1
        previous = np.float64(values[begin])
        for position in range(begin + 1, end):
            value = np.float64(values[position])
            # Written always, counted when true: no branch to mispredict. The slot exists, as count <=
            # position.
            starts[count] = position
            count += abs(value - previous) > threshold
            previous = value
    return count
