"""The rules of ``asr_data.masks.weights`` in torch, for rewards made while training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from asr_data.config import ConfidenceWeights, SegmentWeights, ShareWeights, SoftWeights, WeightConfig


@dataclass(frozen=True, slots=True, eq=False)
class FlatWeighted:
    """What weights are computed from; N tokens of R responses. See ``asr_data.masks.weights.WeightedTokens``.

    Attributes:
        kept, free, aligned, own: bool ``[N]``.
        reward: float64 ``[N]``, r_t.
        distance: float64 ``[N]``.
        preferred: bool ``[N]``.
        row: int64 ``[N]``, ascending.
        rows: R.
        reference: float64 ``[N]``, log π_ref in nats.
    """

    kept: Tensor
    free: Tensor
    aligned: Tensor
    own: Tensor
    reward: Tensor
    distance: Tensor
    preferred: Tensor
    row: Tensor
    rows: int
    reference: Tensor | None


def flat_weights(tokens: FlatWeighted, config: WeightConfig, mean_distance: float | None) -> Tensor:
    """The weights, float32 ``[N]``.

    Args:
        tokens: of a batch of responses.
        config: the rule.
        mean_distance: for ``segment``, of the data set; None takes the mean of this batch.

    Raises:
        ValueError: ``confidence`` without log-probabilities, or a mean distance that is negative or not finite.
    """
    found, said = _values(tokens, config, mean_distance)
    weights = torch.where(tokens.free & said, found, 1.0).float() * tokens.kept
    left = torch.zeros(tokens.rows, dtype=torch.bool, device=weights.device)
    left[tokens.row[weights > 0]] = True
    return torch.where(left[tokens.row], weights, tokens.kept.float())


def counted_distances(tokens: FlatWeighted) -> Tensor:
    """Bool ``[N]``, the tokens whose distance ``segment`` weighs by."""
    most = tokens.distance.new_zeros(tokens.rows)
    most.scatter_reduce_(0, tokens.row[tokens.aligned], tokens.distance[tokens.aligned], "amax")
    return tokens.aligned & (most[tokens.row] > 0)


def _values(tokens: FlatWeighted, config: WeightConfig, mean_distance: float | None) -> tuple[Tensor, Tensor]:
    """Weights, float64 ``[N]``, and where the rule says something, bool ``[N]``."""
    everywhere = torch.ones_like(tokens.kept)
    match config:
        case SegmentWeights():
            counted = counted_distances(tokens)
            mean = _mean_distance(tokens.distance[counted], mean_distance)
            return tokens.distance / (mean or 1.0), counted if mean else torch.zeros_like(counted)
        case SoftWeights():
            bounded = tokens.reward.clamp(config.low, config.high)
            return torch.where(tokens.preferred, bounded, -bounded).exp(), everywhere
        case ShareWeights():
            return _strongest(tokens, config.share), tokens.free
        case ConfidenceWeights():
            if tokens.reference is None:
                raise ValueError('weights "confidence" need reference_logps, float [batch, time]')
            probability = tokens.reference.exp()
            sums = probability.new_zeros(tokens.rows).index_add_(0, tokens.row[tokens.own], probability[tokens.own])
            counts = torch.bincount(tokens.row[tokens.own], minlength=tokens.rows)
            usual = sums / counts.clamp(min=1)
            return (probability <= usual[tokens.row]).double(), everywhere
        case _:
            return torch.ones_like(tokens.reward), everywhere


def _mean_distance(distances: Tensor, given: float | None) -> float:
    if given is None:
        return float(distances.mean()) if len(distances) else 0.0
    if not 0 <= given < float("inf"):
        raise ValueError(f"mean_distance is {given}; it must be at least 0 and finite")
    return given


def _strongest(tokens: FlatWeighted, share: float) -> Tensor:
    """1 for a response's tokens that speak most for its verdict, float64 ``[N]``; of equal ones, the first."""
    agreement = torch.where(tokens.preferred, tokens.reward, -tokens.reward)
    among = tokens.free.nonzero()[:, 0]
    order = among[agreement[among].argsort(descending=True, stable=True)]
    order = order[tokens.row[order].argsort(stable=True)]
    row = tokens.row[order]
    counts = torch.bincount(row, minlength=tokens.rows)
    rank = torch.arange(len(order), device=row.device) - (counts.cumsum(0) - counts)[row]
    weights = torch.zeros_like(tokens.reward)
    weights[order] = (rank < (share * counts - 1e-9).ceil()[row]).double()
    return weights
