"""The compiled part of :func:`asr_data.text.project.project`."""

from __future__ import annotations

import numpy as np

from asr_data.compiled import compiled
from asr_data.types import Float64, Int32


@compiled()
def overlapping_rewards(span_end: Int32, reward: Float64, start: Int32, end: Int32, mean: bool) -> Float64:
    """The mean, or the share of the sum, of the known rewards of the spans that each token overlaps.

    Args:
        span_end: int32 ``[spans]``, ascending byte ends of consecutive spans.
        reward: float64 ``[spans]``, NaN where unknown.
        start: int32 ``[tokens]``, first byte of each token; ascending.
        end: int32 ``[tokens]``, one past the last one.
        mean: weigh by overlap and divide by it; else add each span's share.

    Returns:
        float64 ``[tokens]``; NaN where nothing is known of a token with bytes, 0 for a token without.
    """
    out = np.zeros(len(start))
    span = 0
    for t in range(len(start)):
        while span > 0 and span_end[span - 1] > start[t]:
            span -= 1
        while span < len(span_end) and span_end[span] <= start[t]:
            span += 1
        k, total, known = span, 0.0, 0
        while k < len(span_end) and (span_end[k - 1] if k > 0 else 0) < end[t]:
            first = span_end[k - 1] if k > 0 else 0
            overlap = min(end[t], span_end[k]) - max(start[t], first)
            if overlap > 0 and not np.isnan(reward[k]):
                known += overlap
                total += reward[k] * overlap if mean else reward[k] * overlap / (span_end[k] - first)
            k += 1
        if known > 0:
            out[t] = total / known if mean else total
        elif end[t] > start[t]:
            out[t] = np.nan
    return out
