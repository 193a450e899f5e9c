"""A Kalman smoother over token rewards: the local-level model, filtered forwards and smoothed backwards (RTS).

A reward is a level plus noise, ``r_t = μ_t + ε_t``, and the level walks, ``μ_t = μ_{t−1} + η_t``. With ``ratio`` the
variance of η over that of ε, and nothing known of the first level, the smoothed levels minimise

    Σ_t (r_t − μ_t)²  +  1/ratio · Σ_t (μ_t − μ_{t−1})²

so that they depend on the ratio alone: towards 0 they become the row's mean, and for a large one the rewards.

Source: Rauch, Tung and Striebel, "Maximum likelihood estimates of linear dynamic systems", AIAA Journal 3(8), 1965.
"""

from __future__ import annotations

import numpy as np

from asr_data.compiled import compiled
from asr_data.types import Float32, Float64, Int64


def smoothed(values: Float32, row_offsets: Int64, ratio: float) -> Float32:
    """Return the level at each token, float32 ``[N]``; ``values`` float32 ``[N]``, ``row_offsets`` int64 ``[R+1]``."""
    levels = np.empty(values.size, dtype=np.float64)
    _smooth(values, row_offsets, ratio, levels, np.empty(values.size, dtype=np.float64))
    return levels.astype(np.float32)


@compiled(nogil=True)
def _smooth(values: Float32, row_offsets: Int64, ratio: float, levels: Float64, variances: Float64) -> None:
    for row in range(row_offsets.size - 1):
        begin, end = row_offsets[row], row_offsets[row + 1]
        for t in range(begin, end):
            if t == begin:
                levels[t], variances[t] = values[t], 1.0
                continue
            predicted = variances[t - 1] + ratio  # variances are multiples of the noise's
            gain = predicted / (predicted + 1.0)
            levels[t] = levels[t - 1] + gain * (values[t] - levels[t - 1])
            variances[t] = gain
        for t in range(end - 2, begin - 1, -1):
            levels[t] += variances[t] / (variances[t] + ratio) * (levels[t + 1] - levels[t])
