"""How well scores rank: areas under ROC curves, and pairs in the right order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr_data.errors import InputError
from asr_data.types import Bool, Float64, Int64


def auroc(scores: ArrayLike, is_positive: ArrayLike) -> float | None:
    """The area under the ROC curve: the chance that a positive scores higher than a negative, ties half.

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
    area = float(auroc_by_group(values, positive, np.zeros(values.size, dtype=np.int64), 1)[0])
    return None if np.isnan(area) else area


def auroc_by_group(scores: Float64, is_positive: Bool, group: Int64, groups: int) -> Float64:
    """The area under the ROC curve of each group, by average ranks (Mann–Whitney U); all are ranked in one sort.

    Args:
        scores: float64 ``[n]``, finite.
        is_positive: bool ``[n]``.
        group: int64 ``[n]``, from 0 to ``groups - 1``.
        groups: how many there are.

    Returns:
        float64 ``[groups]``; NaN where a group lacks one of the classes.
    """
    order = np.lexsort((scores, group))
    group, value, positive = group[order], scores[order], is_positive[order]
    new = np.ones(group.size, dtype=np.bool_)
    new[1:] = (group[1:] != group[:-1]) | (value[1:] != value[:-1])
    tie = np.cumsum(new) - 1
    counts = np.bincount(tie, minlength=int(tie[-1]) + 1 if tie.size else 0)
    # Equal scores share the mean of the ranks that they occupy, counted within the group.
    mean_rank = (np.cumsum(counts) - (counts - 1) / 2)[tie] - np.searchsorted(group, group)
    positives = np.bincount(group, weights=positive, minlength=groups)
    negatives = np.bincount(group, weights=~positive, minlength=groups)
    rank_sum = np.bincount(group, weights=np.where(positive, mean_rank, 0.0), minlength=groups)
    higher = rank_sum - positives * (positives + 1) / 2
    pairs = positives * negatives
    areas: Float64 = np.divide(higher, pairs, out=np.full(groups, np.nan), where=pairs > 0)
    return areas


def pair_wins(chosen_rewards: ArrayLike, rejected_rewards: ArrayLike) -> Float64:
    """Float64 ``[pairs]``: 1 where the chosen reward is higher, 0 where it is lower, 0.5 for a tie.

    Raises:
        InputError: the shapes differ, or a reward is not finite.
    """
    chosen = _finite_vector(chosen_rewards, "chosen rewards")
    rejected = _finite_vector(rejected_rewards, "rejected rewards")
    if chosen.shape != rejected.shape:
        raise InputError(f"{chosen.size} chosen rewards, but {rejected.size} rejected ones; they are paired")
    wins: Float64 = (np.sign(chosen - rejected) + 1.0) / 2.0
    return wins


def _finite_vector(values: ArrayLike, name: str) -> Float64:
    vector: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise InputError(f"{name} have shape {vector.shape}; one dimension is allowed")
    if not np.isfinite(vector).all():
        raise InputError(f"{name}: item {int(np.argmin(np.isfinite(vector)))} is not finite")
    return vector
