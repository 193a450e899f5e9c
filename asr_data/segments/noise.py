"""The noise σ of rewards, robustly, from the changes within rows.

With ``r_t = level + noise`` and rare changes of level, the first differences ``d_t = r_t − r_{t−1}`` are differences of
two noise terms: their standard deviation is ``√2 σ``. The median absolute deviation does not see the rare large ones.
Hence

    σ = 1.4826 · median(|d − median(d)|) / √2

over the differences that are not zero, where 1.4826 makes the median absolute deviation of a normal variable its
standard deviation. A reward that is said again, once for each token of a step, is one statement and no evidence of
little noise: differences of zero are left out, so that σ does not depend on how finely a text is cut into tokens. A
difference from or to a reward that is not known (NaN) is left out too.

Where more than half of the differences are equal, as between the two values of a label, their deviations from the
median are 0, and those from 0 are taken: ``σ = 1.4826 · median(|d|) / √2``. So σ is 0 only where no reward changes.

Rewards are best taken as the scorer gave them, over its own spans: rounding to bfloat16 makes steps of 1/128 of a
reward's size.
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
    return sigma_of_changes(changes(values, row_offsets))


def estimate_sigma_per_row(values: Float32, row_offsets: Int64) -> Float64:
    """Return float64 ``[R]``, one σ per row from the row's own changes."""
    bounds = zip(row_offsets[:-1].tolist(), row_offsets[1:].tolist(), strict=True)
    rows = [values[start:end] for start, end in bounds]
    return np.array([sigma_of_changes(changes(row, np.array([0, row.size]))) for row in rows], dtype=np.float64)


def sigma_of_changes(differences: Float32) -> float:
    """Return σ from first differences that are not zero, float32 ``[D]``; 0 where there is none."""
    if differences.size == 0:
        return 0.0
    spread = np.median(np.abs(differences - np.median(differences)))
    if spread == 0.0:
        spread = np.median(np.abs(differences))
    return NORMAL_CONSISTENCY * float(spread) / math.sqrt(2)


def changes(values: Float32, row_offsets: Int64) -> Float32:
    """Return the ``r_t − r_{t−1}`` within rows that are neither zero nor unknown, in order: float32 ``[D]``."""
    differences = np.empty(values.size, dtype=np.float32)
    return differences[: _changes(values, row_offsets, differences)]


@compiled(nogil=True)
def _changes(values: Float32, row_offsets: Int64, differences: Float32) -> int:
    count = 0
    for row in range(row_offsets.size - 1):
        for position in range(row_offsets[row] + 1, row_offsets[row + 1]):
            difference = values[position] - values[position - 1]
            differences[count] = difference
            count += difference != 0.0 and not np.isnan(difference)
    return count
