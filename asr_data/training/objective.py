"""The losses of ``train-scorer``: Bradley–Terry on pairs, logistic on verdicts, cross-entropy and ranking on tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from asr_data.training.encode import Unit


def unit_loss(unit: Unit, values: Sequence[Tensor], rank_weight: float) -> Tensor:
    """Loss of one unit.

    Args:
        unit: a pair, a response with a verdict, or a labelled response.
        values: float ``[response tokens]`` for each of its sequences.
        rank_weight: share of the ranking loss for labelled responses.

    Returns:
        A scalar. Pair: ``−log σ(mean V_chosen − mean V_rejected)``. Verdict: ``−log σ(mean V)`` of a good response,
        ``−log σ(−mean V)`` of a bad one. Labelled response:
        cross-entropy of σ(V) against the targets, and the mean of ``log(1 + exp(V_bad − V_good))`` over all pairs
        of a token with a low and one with a high target, which is what AUROC measures.
    """
    if unit.goal == "pair":
        return softplus(values[1].mean() - values[0].mean())
    if unit.goal == "verdict":
        mean = values[0].mean()
        return softplus(-mean if unit.preferred else mean)
    target = torch.from_numpy(unit.sequences[0].target).to(values[0].device)
    known = ~target.isnan()
    value, target = values[0][known], target[known]
    entropy = binary_cross_entropy_with_logits(value, target)
    good, bad = value[target > 0.5], value[target <= 0.5]
    if not len(good) or not len(bad):
        return (1 - rank_weight) * entropy
    ranking = softplus(bad[:, None] - good[None, :]).mean()
    return (1 - rank_weight) * entropy + rank_weight * ranking
