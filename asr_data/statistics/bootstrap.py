"""Figures that are ratios of sums over items, and the intervals of them and of their differences."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from asr_data.errors import InputError
from asr_data.types import Bool, Float64, Int64

POWER: Final = 0.8
"""How often the smallest difference that is told would be found."""
_CELLS: Final = 16_000_000
"""Largest block of draws that is held as float64: 128 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """``Σ part / Σ whole`` over items, such as responses: a mean, a precision, an F1, an error per token.

    Attributes:
        part: float64 ``[R]``.
        whole: float64 ``[R]``, at least 0; an item with 0 does not count.
    """

    part: Float64
    whole: Float64

    @classmethod
    def mean_of(cls, values: ArrayLike) -> Measure:
        """The mean of values ``[R]``; those that are NaN do not count."""
        items: Float64 = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(items)
        return cls(np.where(known, items, 0.0), known.astype(np.float64))

    def value(self, chosen: Bool | None = None) -> float | None:
        """The figure, over all items or over the ``chosen`` ones (bool ``[R]``); None where none counts."""
        counted = self if chosen is None else self.of(chosen)
        total = float(counted.whole.sum())
        return float(counted.part.sum()) / total if total > 0 else None

    def of(self, chosen: Bool) -> Measure:
        """The measure over the ``chosen`` items alone, bool ``[R]``."""
        return Measure(self.part[chosen], self.whole[chosen])

    @property
    def items(self) -> int:
        """Items that count."""
        return int((self.whole > 0).sum())


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its bootstrap interval; None where it could not be taken.

    Attributes:
        value: over all items.
        low, high: ends of the interval.
        items: how many items count.
    """

    value: float | None
    low: float | None
    high: float | None
    items: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure less another on the same items.

    Attributes:
        ahead: the difference and its interval.
        least: the smallest true difference that as many items would show four times in five, that is with an interval
            without 0; None where there are not two groups.
    """

    ahead: Estimate
    least: float | None


class GroupBootstrap:
    """Percentile intervals that resample whole groups (prompts), with the same draws for every figure.

    Items of one group are not independent, so groups are drawn, with replacement, as many as there are. Since all
    figures share the draws, the difference of two of them is a paired one. With a single group every draw is the
    same, and intervals have no width.

    Args:
        groups: the group of each item, ``[R]``.
        resamples: number of draws.
        seed: of the random generator.
        level: share of the draws within an interval.

    Raises:
        InputError: no items, or settings out of range.
    """

    def __init__(self, groups: Sequence[Hashable], resamples: int = 2000, seed: int = 0, level: float = 0.95) -> None:
        if not groups or resamples < 1 or not 0.0 < level < 1.0:
            raise InputError(
                f"{len(groups)} items, {resamples} resamples, level {level}: at least 1, at least 1, and "
                "between 0 and 1"
            )
        index: dict[Hashable, int] = {}
        self._group: Int64 = np.array([index.setdefault(group, len(index)) for group in groups], dtype=np.int64)
        self._tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
        self.groups = len(index)
        generator = np.random.default_rng(seed)
        chances = np.full(self.groups, 1 / self.groups)
        sizes = _block_sizes(resamples, self.groups)
        # How often each group was drawn: beyond 65,535 times only where all the millions of draws are of one group.
        self._draws = [generator.multinomial(self.groups, chances, size).astype(np.uint16) for size in sizes]

    def estimate(self, measure: Measure) -> Estimate:
        """The figure and its interval."""
        low, high = self._interval(self._resampled(measure))
        return Estimate(measure.value(), low, high, measure.items)

    def difference(self, first: Measure, second: Measure) -> Estimate:
        """``first − second`` on the same items, drawn together."""
        values = first.value(), second.value()
        difference = None if values[0] is None or values[1] is None else values[0] - values[1]
        low, high = self._interval(self._resampled(first) - self._resampled(second))
        return Estimate(difference, low, high, min(first.items, second.items))

    def compare(self, first: Measure, second: Measure) -> Comparison:
        """``first − second``, and the smallest difference that could have been shown.

        That is ``(z₀.₉₇₅ + z₀.₈) · SE = 2.80 SE`` at a level of 95 %, where SE is the standard deviation of the
        difference over the draws: a power of 80 %.
        """
        ahead = self.difference(first, second)
        drawn = self._resampled(first) - self._resampled(second)
        drawn = drawn[~np.isnan(drawn)]
        if self.groups < 2 or drawn.size < 2:
            return Comparison(ahead, None)
        normal = NormalDist()
        deviations = normal.inv_cdf(self._tails[1]) + normal.inv_cdf(POWER)
        return Comparison(ahead, deviations * float(drawn.std(ddof=1)))

    def _resampled(self, measure: Measure) -> Float64:
        """The figure in every draw, float64 ``[resamples]``; NaN where no item that counts was drawn."""
        pair = (measure.part, measure.whole)
        sums = np.stack([np.bincount(self._group, weights=column, minlength=self.groups) for column in pair], 1)
        part, whole = np.concatenate([draws.astype(np.float64) @ sums for draws in self._draws]).T
        return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)

    def _interval(self, drawn: Float64) -> tuple[float | None, float | None]:
        known = drawn[~np.isnan(drawn)]
        if not known.size:
            return None, None
        low, high = np.quantile(known, self._tails)
        return float(low), float(high)


def _block_sizes(resamples: int, groups: int) -> list[int]:
    """Resamples in blocks of at most ``_CELLS`` numbers, if only one resample each."""
    size = max(1, _CELLS // groups)
    return [min(size, resamples - first) for first in range(0, resamples, size)]
