"""How well a segmentation describes the token rewards (paper eq. 12–14)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_data.compiled import compiled
from asr_data.ragged import offsets_of
from asr_data.segments.context import per_row
from asr_data.segments.rewards import segment_ends
from asr_data.types import Bool, Float32, Float64, Int64


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
    by_row = errors_by_row(values, row_offsets, starts, sigma)
    err_seq, err_tok, err_seg = by_row.sum(axis=0).tolist()
    return ApproximationErrors(err_seq, err_tok, err_seg, tokens=values.size, segments=starts.size)


def errors_by_row(values: Float32, row_offsets: Int64, starts: Int64, sigma: float | Float64) -> Float64:
    """The same three errors of each row, float64 ``[R, 3]``: ``err_seq``, ``err_tok``, ``err_seg``."""
    lengths = np.diff(row_offsets)
    variance = per_row("sigma", sigma, lengths.size, minimum=0) ** 2
    bounds = np.searchsorted(starts, row_offsets)
    within = _squared_errors(values, starts, segment_ends(starts, int(row_offsets[-1])))
    row = np.repeat(np.arange(lengths.size), np.diff(bounds))
    found = np.empty((lengths.size, 3))
    found[:, 0] = _squared_errors(values, row_offsets[:-1], row_offsets[1:])
    found[:, 1] = variance * lengths
    found[:, 2] = np.bincount(row, weights=within, minlength=lengths.size) + variance * np.diff(bounds)
    return found


def known_only(values: Float32, row_offsets: Int64, starts: Int64) -> tuple[Float32, Int64, Int64]:
    """The same rows and segments without unknown tokens (NaN); those are segments of their own, and go as a whole."""
    known: Bool = ~np.isnan(values)
    place = offsets_of(known.astype(np.int64))
    return values[known], place[row_offsets], place[starts[known[starts]]]


@compiled(nogil=True)
def _squared_errors(values: Float32, begins: Int64, ends: Int64) -> Float64:
    """Return for each span the sum of squared deviations from its mean; 0 for an empty one."""
    errors = np.zeros(begins.size)
    for index in range(begins.size):
        begin, end = begins[index], ends[index]
        if begin == end:
            continue
        mean = 0.0
        for position in range(begin, end):
            mean += values[position]
        mean /= end - begin
        for position in range(begin, end):
            errors[index] += (values[position] - mean) ** 2
    return errors
