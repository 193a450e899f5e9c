"""The noise σ of token rewards, robustly, from first differences within rows.

With ``r_t = level + noise`` and rare changes of level, the first differences ``d_t = r_t − r_{t−1}`` are
differences of two noise terms: their standard deviation is ``√2 σ``. The median absolute deviation does not
see the rare large ones. Hence

    σ = 1.4826 · median(|d − median(d)|) / √2

where 1.4826 makes the median absolute deviation of a normal variable its standard deviation. Fewer than two
differences carry no information about their spread: σ is then 0. σ is also 0 where more than half of the
differences are equal, as for rewards that are constant within steps. A difference from or to a reward that is
not known (NaN) is left out.
"""

from __future__ import annotations

import math

import numpy as np

from asr_data.compiled import compiled
from asr_data.types import Float32, Float64, Int64

NORMAL_CONSISTENCY = 1.4826


def estimate_sigma(values: Float32, row_offsets: Int64) -> float:
    """Return one σ for all rows: see the module.

    ``values`` float32 ``[N]``, ``row_offsets`` int64 ``[R + 1]``.
    """
    return sigma_of_differences(first_differences(values, row_offsets))


def estimate_sigma_per_row(values: Float32, row_offsets: Int64) -> Float64:
    """Return float64 ``[R]``, one σ per row from the row's own differences."""
    return np.array(
        [
            sigma_of_differences(_known(np.diff(values[start:end])))
            for start, end in zip(row_offsets[:-1].tolist(), row_offsets[1:].tolist(), strict=True)
        ],
        dtype=np.float64,
    )


def sigma_of_differences(differences: Float32) -> float:
    """Return σ from first differences, float32 ``[D]``; 0 where D < 2."""
    if differences.size < 2:
        return 0.0
    deviations = np.abs(differences - np.median(differences))
    return NORMAL_CONSISTENCY * float(np.median(deviations)) / math.sqrt(2)


def first_differences(values: Float32, row_offsets: Int64) -> Float32:
    """Return ``r_t − r_{t−1}`` within rows, in order: float32 ``[N − rows that are not empty]``, or fewer with NaN."""
    differences = np.empty(values.size, dtype=np.float32)
    return differences[: _first_differences(values, row_offsets, differences)]


@compiled(nogil=True)
def _first_differences(values: Float32, row_offsets: Int64, differences: Float32) -> int:
    count = 0
    for row in range(row_offsets.size - 1):
        for position in range(row_offsets[row] + 1, row_offsets[row + 1]):
            difference = values[position] - values[position - 1]
            differences[count] = difference
            count += not np.isnan(difference)
    return count


def _known(values: Float32) -> Float32:
    return values[~np.isnan(values)]
