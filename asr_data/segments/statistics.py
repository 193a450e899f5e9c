"""What is known of the whole data set before masks are made: the noise σ and the dataset baseline."""

from __future__ import annotations

from typing import Literal

import numpy as np

from asr_data.errors import InputError
from asr_data.segments.noise import changes, sigma_of_changes
from asr_data.types import Float32, Float64, Int64

SAMPLE_LIMIT = 2**20
"""Enough for a median to a few tenths of a per cent of its spread, in a few MiB."""


class RewardStatistics:
    """Streaming statistics of span and sequence rewards, in bounded memory.

    Up to ``SAMPLE_LIMIT`` changes of rewards and sequence rewards are kept all. Beyond, every 2nd, 4th, 8th,
    … is, counted over the whole stream: what is kept depends on the order of the rows alone, not on how they
    were handed in, so a resumed run gets the same figures. The mean is of all sequence rewards, kept or not.
    Rewards that are not known (NaN) do not enter.

    Args:
        limit: see above.
        trend: the mean reward by relative position, where it is taken from the rewards first; see
            :mod:`asr_data.segments.trend`. It takes a pass of its own, before this one.
    """

    def __init__(self, limit: int = SAMPLE_LIMIT, trend: Float64 | None = None) -> None:
        self.trend = trend
        self.mean_distance: float | None = None
        """Mean distance of kept tokens' segments from b, where weights are by it; it takes a pass of its own."""
        self._changes = _Sample(limit)
        self._sequences = _Sample(limit)
        self._sum = 0.0
        self._sigma: float | None = None  # asked for with every batch, and a median of all

    def add(self, values: Float32, row_offsets: Int64, sequence_rewards: Float32) -> None:
        """Take in rows.

        Args:
            values: float32 ``[N]``, rewards of the scorer's own spans, from which σ is estimated.
            row_offsets: int64 ``[R + 1]`` of them.
            sequence_rewards: float32 ``[R]``, r_s.
        """
        self._sigma = None
        self._changes.add(changes(values, row_offsets))
        sequence_rewards = sequence_rewards[~np.isnan(sequence_rewards)]
        self._sequences.add(sequence_rewards)
        # In stream order, one by one: the sum must not depend on the batches either.
        self._sum = float(np.cumsum(np.concatenate(([self._sum], sequence_rewards)), dtype=np.float64)[-1])

    def sigma(self) -> float:
        """Return the noise σ of the rewards, as ``asr_data.segments.noise`` defines it."""
        if self._sigma is None:
            self._sigma = sigma_of_changes(self._changes.values())
        return self._sigma

    def baseline(self, statistic: Literal["mean", "median"] | float) -> float:
        """Return the mean, the median or a quantile (0 to 1) of the sequence rewards; InputError if none."""
        if self._sequences.seen == 0:
            raise InputError("the dataset baseline needs at least one response with a reward, and there is none")
        if statistic == "mean":
            return self._sum / self._sequences.seen
        quantile = 0.5 if statistic == "median" else statistic
        return float(np.quantile(self._sequences.values().astype(np.float64), quantile))


class _Sample:
    """Every 2^k-th item of a stream, with the least k that keeps at most ``limit`` of them."""

    def __init__(self, limit: int) -> None:
        self.seen = 0
        self._limit = limit
        self._stride = 1
        self._kept = 0
        self._chunks: list[Float32] = []

    def add(self, items: Float32) -> None:
        first = -self.seen % self._stride  # the next multiple of the stride, counted from here
        chunk = items[first :: self._stride].astype(np.float32)  # a copy: the caller's buffer may be reused
        self.seen += items.size
        self._chunks.append(chunk)
        self._kept += chunk.size
        while self._kept > self._limit:
            thinned = self.values()[::2].copy()
            self._chunks, self._kept, self._stride = [thinned], thinned.size, self._stride * 2

    def values(self) -> Float32:
        if len(self._chunks) != 1:
            self._chunks = [np.concatenate([np.empty(0, dtype=np.float32), *self._chunks])]
        return self._chunks[0]
