"""Checks and masked sums that the losses share."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Reduction: TypeAlias = Literal["mean", "none"]
TokenReduction: TypeAlias = Literal["token", "sequence", "none"]


def check_values(**tensors: Tensor) -> None:
    """All float tensors of one shape ``[batch, time]``, finite.

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
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")


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


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sums ``[batch]`` over the tokens of the mask; the others' gradient is exactly zero."""
    return values.where(mask, values.new_zeros(())).sum(dim=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Means ``[batch]`` over the tokens of the mask; 0 with a gradient of zero where it is empty."""
    return masked_sum(values, mask) / mask.sum(dim=1).clamp(min=1)  # an empty sum is 0, whatever it is divided by


def reduce_tokens(values: Tensor, mask: Tensor, reduction: TokenReduction) -> Tensor:
    """Mean over all kept tokens of the batch (``token``), mean of the rows' means (``sequence``), or ``[batch]`` means.

    Rows with an empty mask count as 0 in ``sequence`` and not at all in ``token``.
    """
    if reduction == "token":
        return masked_sum(values, mask).sum() / mask.sum().clamp(min=1)
    rows = masked_mean(values, mask)
    return rows.mean() if reduction == "sequence" else rows
