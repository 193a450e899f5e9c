"""Agreement of rewards with human labels, and how sure one can be of it. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr_data.errors import InputError
from asr_data.types import Bool, Float64, Int64

_CELLS = 4_000_000
"""Largest ``[resamples, groups]`` block held at once: 32 MB of float64, whatever the number of items."""


def auroc(scores: ArrayLike, is_positive: ArrayLike) -> float | None:
    """Return the area under the ROC curve: the chance that a positive scores higher than a negative.

    Computed from average ranks (Mann–Whitney U), so that a tie counts as half.

    Args:
        scores: ``[n]``, finite.
        is_positive: bool ``[n]``.

    Returns:
        A number in ``[0, 1]``, or None where one of the classes is missing.

    Raises:
        InputError: the shapes differ, or a score is not finite.
    """
    values = _finite_vector(scores, "scores")
    positive: Bool = np.asarray(is_positive, dtype=np.bool_)
    if positive.shape != values.shape:
        raise InputError(f"{values.size} scores, but labels of shape {positive.shape}; one label per score")
    positives = int(positive.sum())
    negatives = values.size - positives
    if positives == 0 or negatives == 0:
        return None
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    # Equal values share the mean of the ranks 1..n that they occupy.
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(mean_rank[inverse][positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def within_response_auroc(responses: Iterable[tuple[ArrayLike, ArrayLike]]) -> list[float | None]:
    """Return, for each response, how well low rewards point out its faulty tokens.

    Args:
        responses: pairs of token rewards ``[n]`` and ``faulty`` bool ``[n]``.

    Returns:
        Per response the chance that a faulty token has a *lower* reward than a sound one (ties half), or
        None where all its tokens are faulty or all are sound.
    """
    return [auroc(-np.asarray(rewards, dtype=np.float64), faulty) for rewards, faulty in responses]


def mean_within_response_auroc(responses: Iterable[tuple[ArrayLike, ArrayLike]]) -> float | None:
    """Return the mean of :func:`within_response_auroc` over the responses that have both classes.

    Every response weighs the same, whatever its length. None where no response has both classes.
    """
    values = [value for value in within_response_auroc(responses) if value is not None]
    return float(np.mean(values)) if values else None


def pair_wins(chosen_rewards: ArrayLike, rejected_rewards: ArrayLike) -> Float64:
    """Return float64 ``[pairs]``: 1 where the chosen reward is higher, 0 where it is lower, 0.5 for a tie.

    Raises:
        InputError: the shapes differ, or a reward is not finite.
    """
    chosen = _finite_vector(chosen_rewards, "chosen rewards")
    rejected = _finite_vector(rejected_rewards, "rejected rewards")
    if chosen.shape != rejected.shape:
        raise InputError(f"{chosen.size} chosen rewards, but {rejected.size} rejected ones; they are paired")
    wins: Float64 = (np.sign(chosen - rejected) + 1.0) / 2.0
    return wins


def pair_accuracy(chosen_rewards: ArrayLike, rejected_rewards: ArrayLike) -> float | None:
    """Return the share of pairs whose chosen reward is the higher one (ties half); None without pairs."""
    wins = pair_wins(chosen_rewards, rejected_rewards)
    return float(wins.mean()) if wins.size else None


def bootstrap_interval(
    values: ArrayLike,
    groups: Sequence[Hashable],
    statistic: Literal["mean", "median"] = "mean",
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic, by a cluster bootstrap over groups.

    Items of one group (answers to one question) are not independent, so whole groups are drawn, with
    replacement, as many as there are. Deterministic given the seed. With a single group every draw is the
    same and the interval has no width.

    Args:
        values: ``[items]``, finite.
        groups: the group of each item, ``[items]``.
        statistic: of the items drawn.
        resamples: number of draws.
        seed: of the random generator.
        level: share of the draws within the interval, in ``(0, 1)``.

    Raises:
        InputError: no items, lengths that differ, values that are not finite, or settings out of range.
    """
    items = _finite_vector(values, "values")
    if items.size == 0 or items.size != len(groups):
        raise InputError(f"{items.size} values and {len(groups)} groups; at least one, and as many of each")
    if resamples < 1 or not 0.0 < level < 1.0:
        raise InputError(f"resamples is {resamples} and level {level}; at least 1, and between 0 and 1")
    index_of: dict[Hashable, int] = {}
    membership = np.array([index_of.setdefault(group, len(index_of)) for group in groups], dtype=np.int64)
    columns = items.size if statistic == "median" else len(index_of)
    generator = np.random.default_rng(seed)
    draws: list[Float64] = []
    for first in range(0, resamples, block := max(1, _CELLS // columns)):
        rows = min(block, resamples - first)
        multiplicity = _draw_groups(generator, rows, len(index_of))
        reduce = _weighted_median if statistic == "median" else _weighted_mean
        draws.append(reduce(items, membership, multiplicity))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(draws), [tail, 1.0 - tail])
    return float(low), float(high)


def _draw_groups(generator: np.random.Generator, rows: int, groups: int) -> Int64:
    """Return int64 ``[rows, groups]``: how often each group was drawn in each of ``rows`` resamples."""
    drawn = generator.integers(0, groups, size=(rows, groups))
    flat = drawn + groups * np.arange(rows, dtype=np.int64)[:, None]
    counts: Int64 = np.bincount(flat.ravel(), minlength=rows * groups).reshape(rows, groups)
    return counts


def _weighted_mean(items: Float64, membership: Int64, multiplicity: Int64) -> Float64:
    sums = np.bincount(membership, weights=items)
    sizes = np.bincount(membership)
    means: Float64 = (multiplicity @ sums) / (multiplicity @ sizes)
    return means


def _weighted_median(items: Float64, membership: Int64, multiplicity: Int64) -> Float64:
    order = np.argsort(items, kind="stable")
    # The k-th smallest item drawn is the first whose cumulated multiplicity exceeds k.
    cumulated = np.cumsum(multiplicity[:, membership[order]], axis=1)
    total = cumulated[:, -1:]
    lower = items[order][np.argmax(cumulated > (total - 1) // 2, axis=1)]
    upper = items[order][np.argmax(cumulated > total // 2, axis=1)]
    medians: Float64 = (lower + upper) / 2.0
    return medians


def _finite_vector(values: ArrayLike, name: str) -> Float64:
    vector: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise InputError(f"{name} have shape {vector.shape}; one dimension is allowed")
    if not np.isfinite(vector).all():
        raise InputError(f"{name}: item {int(np.argmin(np.isfinite(vector)))} is not finite")
    return vector
