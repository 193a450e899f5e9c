"""The mean reward at a relative position, over the whole data set, and rewards without it.

Rewards of many models fall along every response. A baseline then parts the beginnings of responses from their ends, and
a mask is a filter by position. The trend is estimated over the whole data set, like the noise. Of n tokens with text
the k-th stands at ``[k / n, (k + 1) / n)`` of its response. Each of ``BINS`` equal parts of a response has the mean of
the known rewards that overlap it, weighted by overlap; in all, each token has the same weight. So a response of
whatever length gives to all parts alike, and a difference between responses is no trend. Between the centres of two
parts the trend is linear, before the first and after the last it is constant.

Both sides are taken together: what chosen responses have more than rejected ones at a position is the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from asr_data.compiled import compiled
from asr_data.errors import ConfigError
from asr_data.segments.positions import places, relative_position
from asr_data.segments.rewards import round_bfloat16
from asr_data.types import Bool, Float32, Float64, Int64

BINS: Final = 20


class TrendEstimate:
    """Sums by position, in constant memory; in the order of the rows, so that batches of any size give the same."""

    def __init__(self) -> None:
        self._sums = np.zeros(BINS)
        self._weights = np.zeros(BINS)
        self._with_two = 0

    def add(self, rewards: Float32, row_offsets: Int64, text: Bool) -> None:
        """Take in rows.

        Args:
            rewards: float32 ``[N]``, r_t; NaN where unknown.
            row_offsets: int64 ``[R + 1]``.
            text: bool ``[N]``, tokens with text.
        """
        place, count = places(text, row_offsets)
        known = np.flatnonzero(text & ~np.isnan(rewards))
        _add_overlaps(rewards[known].astype(np.float64), place[known], count[known], self._sums, self._weights)
        row = np.searchsorted(row_offsets, known, side="right")
        self._with_two += int((np.unique(row, return_counts=True)[1] > 1).sum())

    def curve(self) -> Float64:
        """Return the mean reward of each part of a response, float64 ``[BINS]``.

        A part in which nothing is known takes what lies between its neighbours.

        Raises:
            ConfigError: no response has two tokens with a known reward.
        """
        if not self._with_two:
            raise ConfigError(
                "detrend: no response has two tokens with a known reward, so there is no mean reward by position"
            )
        part = np.arange(BINS)
        known = self._weights > 0
        means = self._sums[known] / self._weights[known]
        return np.interp(part, part[known], means)


def detrended(rewards: Float32, row_offsets: Int64, text: Bool, trend: Float64) -> Float32:
    """Return r_t less the trend where the token stands, float32 ``[N]``, rounded to bfloat16 as rewards are.

    A token without text stands where the last one with text before it does. The arrays are as in
    :meth:`TrendEstimate.add`, ``trend`` is as :meth:`TrendEstimate.curve` gives it.
    """
    at = np.clip(relative_position(text, row_offsets) * trend.size - 0.5, 0.0, trend.size - 1.0)
    below = np.minimum(at.astype(np.int64), trend.size - 2)
    share = at - below
    usual = trend[below] * (1.0 - share) + trend[below + 1] * share
    return round_bfloat16((rewards - usual).astype(np.float32))


def trend_statistics(trend: Float64 | None) -> dict[str, float]:
    """The trend as the manifest has it among its ``statistics``: ``trend_01`` to ``trend_20``; nothing for None."""
    return {} if trend is None else {f"trend_{part + 1:02d}": float(mean) for part, mean in enumerate(trend)}


def recorded_trend(statistics: Mapping[str, float]) -> Float64 | None:
    """The trend from a manifest's ``statistics``, float64 ``[BINS]``; None where none was taken away."""
    names = [f"trend_{part + 1:02d}" for part in range(BINS)]
    return np.array([statistics[name] for name in names]) if names[0] in statistics else None


@compiled(nogil=True)
def _add_overlaps(rewards: Float64, place: Int64, count: Int64, sums: Float64, weights: Float64) -> None:
    """Part b of n tokens is ``[b n, (b + 1) n)`` and token k ``[k BINS, (k + 1) BINS)``, in units of 1 / (n·BINS)."""
    for token in range(rewards.size):
        begin, n = place[token] * BINS, count[token]
        position = begin
        while position < begin + BINS:
            part = position // n
            end = min(begin + BINS, (part + 1) * n)
            share = end - position
            sums[part] += share * rewards[token]
            weights[part] += share
            position = end
