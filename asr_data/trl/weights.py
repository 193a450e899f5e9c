"""``S_weight`` in TRL's trainers: what a model says of a token is multiplied by the token's weight.

TRL 1.16 asks models for per-token log-probabilities in one place, its fused head, and adds them up. So weights go in
there, for policy and reference alike, and every loss of TRL's that is a function of those sums is the weighted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from trl.trainer.utils import pad

from asr_data.errors import ConfigError


def require_fused_head(trainer: Any, what: str) -> None:
    """Refuse a TRL whose trainers have no fused head.

    Args:
        trainer: the module of one of TRL's trainers.
        what: what needs it.

    Raises:
        ConfigError: names TRL's version.
    """
    if not hasattr(trainer, "add_fused_lm_head"):
        raise ConfigError(f"{what} need TRL 1.16; this is TRL {version('trl')}")


def row_weights(weights: Sequence[float] | None, mask: Sequence[bool], column: str, row: object) -> list[float]:
    """A response's weights, checked against its mask.

    Args:
        weights: ``S_weight`` of one row; None where the row or the data set has none.
        mask: ``S_mask`` of it.
        column: the weights' column, for messages.
        row: which row it is, for messages; None where that is not known.

    Raises:
        ConfigError: no weights, another length, a number that is negative or not finite, one where the mask is false,
            or none above 0 where the mask is true somewhere.
    """
    where = f"column {column}" if row is None else f"row {row}: column {column}"
    if weights is None:
        raise ConfigError(f"{where} is missing or null, and the data set has weights; every response needs its own")
    if len(weights) != len(mask):
        raise ConfigError(f"{where} has {len(weights)} entries, and the mask {len(mask)}")
    for place, (weight, keep) in enumerate(zip(weights, mask, strict=True)):
        if weight is None or not 0 <= weight < math.inf:
            raise ConfigError(f"{where} is {weight} at token {place}; weights are finite and at least 0")
        if weight > 0 and not keep:
            raise ConfigError(f"{where} is {weight:g} at token {place}, where the mask is false; it must be 0 there")
    if any(mask) and not any(weights):
        raise ConfigError(f"{where} is 0 at every token, and the mask keeps some")
    return list(weights)


def in_window(weights: Sequence[float], prompt: int, cut: slice) -> list[float]:
    """Weights with the prompt before them, cut as the ids are. What stands first has no prediction."""
    inside = ([0.0] * prompt + list(weights))[cut]
    return [0.0, *inside[1:]]


def padded_weights(rows: Sequence[Sequence[float]], pad_to_multiple_of: int | None) -> Tensor:
    """Float32 ``[rows, time]``, padded on the right as TRL pads ids."""
    tensors = [torch.tensor(row, dtype=torch.float32) for row in rows]
    padded: Tensor = pad(tensors, padding_value=0, padding_side="right", pad_to_multiple_of=pad_to_multiple_of)
    return padded


def with_mean_1(weights: Tensor) -> Tensor:
    """Each row by the mean of its weights above 0, so that TRL's mean over kept tokens divides by their sum."""
    kept, total = (weights > 0).sum(dim=1, keepdim=True), weights.sum(dim=1, keepdim=True)
    return weights * (kept / total.where(total > 0, total.new_ones(())))


def with_sum_1(weights: Tensor) -> Tensor:
    """Rows whose weights add up to less than 1, but not to 0, so that they add up to 1; others as they are."""
    total = weights.sum(dim=1, keepdim=True)
    return torch.where((total > 0) & (total < 1), weights / total.where(total > 0, total.new_ones(())), weights)


class WeightedHead:
    """Multiplies what models say of tokens by weights, as a forward hook.

    Attributes:
        weights: float32 ``[batch, time]`` of the batch that goes through the models; None changes nothing.
    """

    def __init__(self) -> None:
        self.weights: Tensor | None = None

    def __call__(self, _module: torch.nn.Module, _arguments: Any, output: Any) -> Any:
        """The output of a model with a fused head, its log-probabilities weighted."""
        if self.weights is not None and getattr(output, "log_probs", None) is not None:
            output.log_probs = output.log_probs * aligned(self.weights, output.log_probs)
        return output

    @contextmanager
    def on(self, models: Sequence[torch.nn.Module | None], weights: Tensor | None) -> Iterator[None]:
        """These models meanwhile; None stands for no model, and for no weights."""
        with ExitStack() as stack:
            for model in {id(one): one for one in models if one is not None and weights is not None}.values():
                stack.callback(model.register_forward_hook(self).remove)
            stack.enter_context(self.batch(weights))
            yield

    @contextmanager
    def batch(self, weights: Tensor | None) -> Iterator[None]:
        """Another batch goes through the models meanwhile."""
        before, self.weights = self.weights, weights
        try:
            yield
        finally:
            self.weights = before


def aligned(weights: Tensor, log_probs: Tensor) -> Tensor:
    """Weights ``[batch, time]`` in the places of a fused head's log-probabilities, ``[batch, virtual + time − 1]``.

    Prompt-learning adapters put virtual tokens before the others.
    """
    own = weights[:, 1:].to(log_probs)
    return torch.nn.functional.pad(own, (log_probs.shape[1] - own.shape[1], 0))
