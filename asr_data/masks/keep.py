"""Which segments agree with their response's verdict (paper eq. 8)."""

from __future__ import annotations

import numpy as np

from asr_data.types import Bool, Float32, Float64, Int64


def keep_segments(segment_reward: Float32, segment_row: Int64, baseline: Float64, preferred: Bool) -> Bool:
    """Return bool ``[K]``, true where a segment is trained on.

    A preferred response keeps its segments with ``r_k > b``, any other those with ``r_k <= b``. A segment whose
    reward is unknown (NaN) is neither: what is unknown is neither good nor bad.

    Args:
        segment_reward: float32 ``[K]``, r_k.
        segment_row: int64 ``[K]``, the response that each segment is of, an index into the next two.
        baseline: float64 ``[R]``, b.
        preferred: bool ``[R]``, the verdicts.
    """
    baseline, preferred = baseline[segment_row], preferred[segment_row]
    return np.where(preferred, segment_reward > baseline, segment_reward <= baseline)
