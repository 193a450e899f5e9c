"""How well a segmentation describes the token rewards (paper eq. 12–14)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_data.compiled import compiled
from asr_data.segments.context import per_row
from asr_data.segments.rewards import segment_ends
from asr_data.types import Float32, Float64, Int64


@dataclass(frozen=True, slots=True)
class ApproximationErrors:
    """Errors of the three granularities, summed over rows.

    Attributes:
        err_seq: eq. 12, ``Σ (r_t − r_s)²`` with r_s the row's mean: one reward per response.
        err_tok: eq. 13, ``σ² n``: one reward per token, which takes the noise for signal.
        err_seg: eq. 14, ``Σ_k Σ_{t ∈ S_k} (r_t − r_k)² + σ² K`` with r_k the segment's mean.
        tokens: n, over all rows.
        segments: K, over all rows.
    """

    err_seq: float
    err_tok: float
    err_seg: float
    tokens: int
    segments: int


def approximation_errors(
    values: Float32, row_offsets: Int64, starts: Int64, sigma: float | Float64
) -> ApproximationErrors:
    """Return the errors of eq. 12–14, with ``c² = σ²``.

    Args:
        values: float32 ``[N]`` token rewards.
        row_offsets: int64 ``[R + 1]``.
        starts: int64 ``[K]`` flat segment starts, as ``split`` gives them.
        sigma: the noise σ, one number or float ``[R]``.
    """
    lengths = np.diff(row_offsets)
    variance = per_row("sigma", sigma, lengths.size, minimum=0) ** 2
    segments = np.diff(np.searchsorted(starts, row_offsets))
    within = _squared_errors(values, starts, segment_ends(starts, int(row_offsets[-1])))
    return ApproximationErrors(
        err_seq=_squared_errors(values, row_offsets[:-1], row_offsets[1:]),
        err_tok=float(variance @ lengths),
        err_seg=within + float(variance @ segments),
        tokens=values.size,
        segments=starts.size,
    )


@compiled(nogil=True)
def _squared_errors(values: Float32, begins: Int64, ends: Int64) -> float:
    """Return the sum over spans of squared deviations from the span's mean; empty spans add nothing."""
    error = 0.0
    for index in range(begins.size):
        begin, end = begins[index], ends[index]
        if begin == end:
            continue
        mean = 0.0
        for position in range(begin, end):
            mean += values[position]
        mean /= end - begin
        for position in range(begin, end):
            error += (values[position] - mean) ** 2
    return error
