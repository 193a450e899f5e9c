"""Checks, masked sums and reductions that the losses share."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

Reduction: TypeAlias = Literal["mean", "sum", "none"]
TokenReduction: TypeAlias = Literal["token", "sequence", "sum", "none"]
Normalizer: TypeAlias = Tensor | float | None


def check_floats(**tensors: Tensor) -> None:
    """All float tensors of one shape ``[batch, time]``.

    Raises:
        ValueError: naming the argument.
    """
    shape = next(iter(tensors.values())).shape
    for name, tensor in tensors.items():
        if tensor.dim() != 2 or tensor.shape != shape:
            wanted = f"{list(shape)}" if len(shape) == 2 else "[batch, time]"
            raise ValueError(f"{name} has shape {list(tensor.shape)}; it must be {wanted}")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} is {tensor.dtype}; it must be a float type")


def check_finite(mask: Tensor | None = None, /, **tensors: Tensor) -> None:
    """Numbers are finite where the mask is true, or everywhere without one. Waits for the device, once.

    Raises:
        ValueError: naming the argument, the row and the token.
    """
    bad = [~tensor.isfinite() if mask is None else ~tensor.isfinite() & mask for tensor in tensors.values()]
    found = torch.stack([where.any() for where in bad]).tolist()
    for name, where, any_bad in zip(tensors, bad, found, strict=True):
        if any_bad:
            row, token = where.nonzero()[0].tolist()
            place = "" if mask is None else " where the mask is true"
            raise ValueError(f"{name} holds numbers that are not finite{place}, first in row {row}, token {token}")


def check_values(**tensors: Tensor) -> None:
    """Both: float tensors of one shape, finite everywhere.

    Raises:
        ValueError: naming the argument.
    """
    check_floats(**tensors)
    check_finite(**tensors)


def check_mask(like: Tensor, **masks: Tensor) -> None:
    """All masks bool, of the shape of ``like``.

    Raises:
        ValueError: naming the argument.
    """
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise ValueError(f"{name} is {mask.dtype}; a mask is bool, true where a token is trained on")
        if mask.shape != like.shape:
            raise ValueError(f"{name} has shape {list(mask.shape)}; it must be {list(like.shape)}")


class Weighting(NamedTuple):
    """What tokens count: where they do at all, and how much.

    Attributes:
        kept: bool ``[batch, time]``.
        weight: float ``[batch, time]``, 0 where not kept; None where every kept token counts 1.
    """

    kept: Tensor
    weight: Tensor | None

    @property
    def total(self) -> Tensor:
        """``[batch]``, the number of kept tokens, or the sum of their weights."""
        return self.kept.sum(dim=1) if self.weight is None else self.weight.sum(dim=1)


def weighting(like: Tensor, *, validate: bool, **masks: Tensor) -> Weighting:
    """A bool mask, or float weights, of the shape of ``like``. No gradient flows through weights.

    Raises:
        ValueError: naming the argument, and with ``validate`` the row and the token of a weight that is negative or not
            finite.
    """
    [(name, mask)] = masks.items()
    if not mask.is_floating_point():
        check_mask(like, **masks)
        return Weighting(mask, None)
    if mask.shape != like.shape:
        raise ValueError(f"{name} has shape {list(mask.shape)}; it must be {list(like.shape)}")
    if validate:
        check_finite(**masks)
        negative = (mask < 0).nonzero()
        if len(negative):
            row, token = negative[0].tolist()
            raise ValueError(f"{name} is negative, first in row {row}, token {token}; weights are at least 0")
    half = like.dtype in (torch.float16, torch.bfloat16)
    return Weighting(mask > 0, mask.detach().to(torch.float32 if half else like.dtype))


def check_settings(*, zero: bool = False, **settings: float) -> None:
    """Numbers above 0 and finite, or 0 where that is allowed.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in settings.items():
        if not 0 <= value < math.inf or (value == 0 and not zero):
            raise ValueError(f"{name} is {value}; it must be {'at least' if zero else 'above'} 0 and finite")


def masked(values: Tensor, mask: Tensor) -> Tensor:
    """The values where the mask is true, 0 elsewhere; float16 and bfloat16 become float32.

    Comes before all arithmetic: ``0 · inf`` in a backward pass is NaN, so a masked token must be gone by then.
    """
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    return values.where(mask, values.new_zeros(()))


def weighted_sum(values: Tensor, by: Weighting) -> Tensor:
    """Sums ``[batch]`` over kept tokens, each times its weight; the others' gradient is exactly zero."""
    kept = masked(values, by.kept)
    return (kept if by.weight is None else kept * by.weight).sum(dim=1)


def weighted_mean(values: Tensor, by: Weighting) -> Tensor:
    """Means ``[batch]``: sums by the sum of weights; 0 with a gradient of zero where nothing is kept."""
    total = by.total
    return weighted_sum(values, by) / total.where(total != 0, total.new_ones(()))  # an empty sum is 0


def reduce_rows(losses: Tensor, reduction: Reduction, normalizer: Normalizer, *, validate: bool) -> Tensor:
    """Mean of a batch's ``[batch]`` losses, their sum, or themselves; a ``normalizer`` is what the sum is divided by.

    Raises:
        ValueError: an unknown reduction, or a normalizer that is none.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is {reduction!r}; allowed are mean, sum, none")
    _check_normalizer(normalizer, reduction, len(losses), "rows", validate=validate)
    if validate:
        _check_loss(losses)
    if reduction == "none":
        return losses
    return _divided(losses.sum(), len(losses) if reduction == "mean" and normalizer is None else normalizer)


def reduce_tokens(
    values: Tensor, by: Weighting, reduction: TokenReduction, normalizer: Normalizer, *, validate: bool
) -> Tensor:
    """Mean over the batch's kept tokens (``token``), mean of the rows' means (``sequence``), sum over kept tokens
    (``sum``), or the rows' means ``[batch]`` (``none``). With weights, means divide by the sum of weights.

    Rows with an empty mask count as 0 in ``sequence`` and not at all in ``token``. A ``normalizer`` is what the sum is
    divided by, in place of the number of kept tokens (their weights), or of rows in ``sequence``.

    Raises:
        ValueError: an unknown reduction, or a normalizer that is none.
    """
    if reduction not in ("token", "sequence", "sum", "none"):
        raise ValueError(f"reduction is {reduction!r}; allowed are token, sequence, sum, none")
    by_row = reduction in ("sequence", "none")
    counted = len(by.kept) if by_row else by.kept.sum() if by.weight is None else by.weight.sum()
    _check_normalizer(normalizer, reduction, counted, "rows" if by_row else "kept tokens", validate=validate)
    if validate:
        _check_loss(weighted_mean(values.detach(), by))
    if reduction == "none":
        return weighted_mean(values, by)
    total = (weighted_mean(values, by) if by_row else weighted_sum(values, by)).sum()
    return _divided(total, counted if reduction != "sum" and normalizer is None else normalizer)


def _check_normalizer(
    normalizer: Normalizer, reduction: str, counted: Tensor | int, what: str, *, validate: bool
) -> None:
    if normalizer is None:
        return
    if reduction == "none":
        raise ValueError("normalizer divides a sum, and reduction 'none' has none")
    if isinstance(normalizer, Tensor) and normalizer.dim():
        raise ValueError(f"normalizer has shape {list(normalizer.shape)}; it must be one number")
    if validate:
        value, count = float(normalizer), counted if isinstance(counted, int) else counted.item()
        if not 0 <= value < math.inf or (value == 0 and count > 0):
            raise ValueError(f"normalizer is {value} and the batch has {count} {what}; it must be above 0 and finite")


def _check_loss(losses: Tensor) -> None:
    """Finite inputs may still overflow: ``ipo`` squares, and a mask of -3.4e38 in logits is a number."""
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        raise ValueError(f"the loss of row {int(bad[0])} is not finite: log-probabilities or rewards are out of range")


def _divided(total: Tensor, by: Normalizer) -> Tensor:
    """The quotient; 0 where nothing at all is counted."""
    if by is None:
        return total
    divisor = torch.as_tensor(by, dtype=total.dtype, device=total.device).detach()
    return total / divisor.where(divisor != 0, divisor.new_ones(()))
