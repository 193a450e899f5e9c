"""``schmitt``: a Schmitt trigger around the baseline (paper eq. 15)."""

from __future__ import annotations

import numpy as np

from asr_data.compiled import compiled
from asr_data.types import Float32, Float64, Int64


def schmitt_starts(values: Float32, row_offsets: Int64, lower: Float64, upper: Float64) -> Int64:
    """Return where the state changes: good above ``upper``, bad below ``lower``, else as before; both ``[R]``."""
    starts = np.empty(values.size, dtype=np.int64)
    return starts[: _schmitt(values, row_offsets, lower, upper, starts)].copy()


@compiled(nogil=True)
def _schmitt(values: Float32, row_offsets: Int64, lower: Float64, upper: Float64, starts: Int64) -> int:
    count = 0
    for row in range(row_offsets.size - 1):
        begin, end, low, high = row_offsets[row], row_offsets[row + 1], lower[row], upper[row]
        if begin == end:
            continue
        starts[count] = begin
        count += 1
        state = 0  # 1 good, -1 bad, 0 not yet decided
        for position in range(begin, end):
            value = np.float64(values[position])
            decided = (value > high) - (value < low)
            if decided != 0 and decided != state:
                # The first decided state reaches back to the row's start, which is a start already.
                if state != 0:
                    starts[count] = position
                    count += 1
                state = decided
    return count
