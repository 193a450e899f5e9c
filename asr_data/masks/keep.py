"""Which segments agree with their response's verdict (paper eq. 8)."""

from __future__ import annotations

from asr_data.types import Bool, Float32, Float64, Int64


def keep_segments(segment_reward: Float32, segment_row: Int64, baseline: Float64, preferred: Bool) -> Bool:
    """Return bool ``[K]``, true where a segment is trained on.

    A preferred response keeps its segments with ``r_k > b``, any other those with ``r_k <= b``.

    Args:
        segment_reward: float32 ``[K]``, r_k.
        segment_row: int64 ``[K]``, the response that each segment is of, an index into the next two.
        baseline: float64 ``[R]``, b.
        preferred: bool ``[R]``, the verdicts.
    """
    above: Bool = segment_reward > baseline[segment_row]
    return above == preferred[segment_row]
