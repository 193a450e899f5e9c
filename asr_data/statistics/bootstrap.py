"""Figures that are ratios of sums over responses, and how sure one can be of them and of their differences."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from asr_data.errors import InputError
from asr_data.types import Bool, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """``Σ part / Σ whole`` over responses: a mean, a precision, an F1, an error per token.

    Attributes:
        part: float64 ``[R]``.
        whole: float64 ``[R]``, at least 0; a response with 0 does not enter.
    """

    part: Float64
    whole: Float64

    def value(self, chosen: Bool | None = None) -> float | None:
        """The figure, over all responses or over the ``chosen`` ones (bool ``[R]``); None where there is nothing."""
        part, whole = (self.part, self.whole) if chosen is None else (self.part[chosen], self.whole[chosen])
        total = float(whole.sum())
        return float(part.sum()) / total if total > 0 else None

    @property
    def items(self) -> int:
        """Responses that enter."""
        return int((self.whole > 0).sum())


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its bootstrap interval; None where it could not be taken.

    Attributes:
        value: over all responses.
        low, high: ends of the interval.
        items: responses that enter.
    """

    value: float | None
    low: float | None
    high: float | None
    items: int


class GroupBootstrap:
    """Percentile intervals that resample whole groups (prompts), with the same draws for every figure.

    Items of one group are not independent, so groups are drawn, with replacement, as many as there are. Since all
    figures share the draws, the difference of two of them is a paired one.

    Args:
        groups: the group of each response, ``[R]``.
        resamples: number of draws.
        seed: of the random generator.
        level: share of the draws within an interval.

    Raises:
        InputError: no responses, or settings out of range.
    """

    def __init__(self, groups: Sequence[Hashable], resamples: int = 2000, seed: int = 0, level: float = 0.95) -> None:
        if not groups or resamples < 1 or not 0.0 < level < 1.0:
            raise InputError(
                f"{len(groups)} responses, {resamples} resamples, level {level}: at least 1, at least 1, and "
                "between 0 and 1"
            )
        index: dict[Hashable, int] = {}
        self._group: Int64 = np.array([index.setdefault(group, len(index)) for group in groups], dtype=np.int64)
        self._tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
        self.groups = len(index)
        drawn = np.random.default_rng(seed).multinomial(self.groups, np.full(self.groups, 1 / self.groups), resamples)
        self._draws: Float64 = drawn.astype(np.float64)

    def estimate(self, measure: Measure) -> Estimate:
        """The figure and its interval."""
        low, high = self._interval(self._resampled(measure))
        return Estimate(measure.value(), low, high, measure.items)

    def difference(self, first: Measure, second: Measure) -> Estimate:
        """``first − second`` on the same responses, drawn together."""
        values = first.value(), second.value()
        difference = None if values[0] is None or values[1] is None else values[0] - values[1]
        low, high = self._interval(self._resampled(first) - self._resampled(second))
        return Estimate(difference, low, high, min(first.items, second.items))

    def _resampled(self, measure: Measure) -> Float64:
        """The figure in every draw, float64 ``[resamples]``; NaN where nothing was drawn that enters."""
        pair = (measure.part, measure.whole)
        sums = np.stack([np.bincount(self._group, weights=column, minlength=self.groups) for column in pair], 1)
        part, whole = (self._draws @ sums).T
        return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)

    def _interval(self, drawn: Float64) -> tuple[float | None, float | None]:
        known = drawn[~np.isnan(drawn)]
        if not known.size:
            return None, None
        low, high = np.quantile(known, self._tails)
        return float(low), float(high)
