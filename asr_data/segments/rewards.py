"""Rewards of segments and sequences, and increments from values."""

from __future__ import annotations

from typing import Literal

import numpy as np

from asr_data.compiled import compiled
from asr_data.errors import ConfigError, InputError
from asr_data.types import Bool, Float32, Float64, Int64


def segment_rewards(
    values: Float32, row_offsets: Int64, starts: Int64, how: Literal["mean", "last"], text: Bool | None = None
) -> Float32:
    """Return the segment rewards r_k, float32 ``[K]``.

    Args:
        values: float32 ``[N]`` token rewards.
        row_offsets: int64 ``[R + 1]``.
        starts: int64 ``[K]`` flat segment starts, as ``split`` gives them.
        how: ``mean`` over the segment's tokens (summed in float64), or the reward of the ``last`` token with text.
        text: bool ``[N]``, tokens with text; None where all have some. A segment without any takes its last token.
    """
    ends = segment_ends(starts, int(row_offsets[-1]))
    if how == "last":
        return values[_last_with(text, starts, ends)]
    return (_sums(values, starts, ends) / (ends - starts)).astype(np.float32)


def sequence_rewards(
    values: Float32, row_offsets: Int64, how: Literal["mean", "last", "sum"], text: Bool | None = None
) -> Float32:
    """Return the sequence rewards r_s, float32 ``[R]``, of rows that each have a token (else InputError).

    They are over the known rewards alone; NaN where a row has none. ``last`` is the last token with text, bool ``[N]``.
    """
    begins, ends = row_offsets[:-1], row_offsets[1:]
    empty = np.flatnonzero(begins == ends)
    if empty.size:
        raise InputError(f"row {int(empty[0])} has no tokens; a sequence reward needs at least one")
    known = ~np.isnan(values)
    if not known.all():
        offsets = np.concatenate(([0], np.cumsum(known)))[row_offsets]
        out = np.full(begins.size, np.nan, dtype=np.float32)
        # Rows without a known reward begin where they end: each other row's offset is left once.
        of_known = None if text is None else text[known]
        out[offsets[:-1] < offsets[1:]] = sequence_rewards(values[known], np.unique(offsets), how, of_known)
        return out
    if how == "last":
        return values[_last_with(text, begins, ends)]
    sums = _sums(values, begins, ends)
    return (sums if how == "sum" else sums / (ends - begins)).astype(np.float32)


def increments(values: Float32, row_offsets: Int64, initial: Float32, text: Bool | None = None) -> Float32:
    """Return ``r_t = V_t − V_{t−1}`` within rows, with ``V_{−1}`` given: float32 ``[N]``.

    Tokens without text before the first with text, which a template puts there, add nothing: the step from ``V_{−1}``
    belongs to the first token with text.

    Args:
        values: float32 ``[N]`` token values.
        row_offsets: int64 ``[R + 1]``.
        initial: float32 ``[R]``, each row's value at the end of the prompt; NaN where the scorer gave none.
        text: bool ``[N]``, tokens with text; None where all have some.

    Raises:
        ConfigError: an ``initial`` is NaN in a row that has tokens.
    """
    begins = row_offsets[:-1]
    filled = begins < row_offsets[1:]
    missing = np.flatnonzero(np.isnan(initial) & filled)
    if missing.size:
        raise ConfigError(
            f'response {int(missing[0])}: reward "delta" needs the value at the end of the prompt, which '
            'this scorer did not give; use reward "value"'
        )
    previous = np.empty_like(values)
    previous[1:] = values[:-1]
    previous[begins[filled]] = initial[filled]
    if text is not None:
        row = np.repeat(np.arange(begins.size), np.diff(row_offsets))
        before = np.concatenate(([0], np.cumsum(text)))  # tokens with text before each token
        leading = before[:-1] == before[row_offsets[:-1]][row]
        previous[leading] = np.where(text[leading], initial[row[leading]], values[leading])
    return values - previous


def round_bfloat16(values: Float32) -> Float32:
    """Return float32 values rounded to the nearest bfloat16, ties to even, still as float32; NaN stays NaN.

    A bfloat16 is the upper half of a float32. Adding just under half of the lower half's range, plus one
    where the upper half is odd, carries exactly when rounding up is due.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)
    rounded[np.isnan(values)] = 0x7FC00000  # the carry would make some of them infinite, or zero
    return rounded.view(np.float32)


def segment_ends(starts: Int64, tokens: int) -> Int64:
    """Return int64 ``[K]``, where each segment ends: the next start, and ``tokens`` for the last."""
    ends = np.empty_like(starts)
    ends[:-1] = starts[1:]
    ends[-1:] = tokens
    return ends


def _last_with(text: Bool | None, begins: Int64, ends: Int64) -> Int64:
    """Return the last position with text in each stretch, or its last one where none has any."""
    if text is None:
        return ends - 1
    last = np.maximum.accumulate(np.where(text, np.arange(text.size), -1))[ends - 1]
    return np.where(last >= begins, last, ends - 1)


@compiled(nogil=True)
def _sums(values: Float32, begins: Int64, ends: Int64) -> Float64:
    sums = np.zeros(begins.size, dtype=np.float64)
    for index in range(begins.size):
        total = 0.0
        for position in range(begins[index], ends[index]):
            total += values[position]
        sums[index] = total
    return sums
