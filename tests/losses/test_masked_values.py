"""What stands at masked tokens and in the padding changes nothing: neither the loss nor a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_data.losses import adaptive_dpo_loss, adaptive_kto_loss, adaptive_ppo_loss, adaptive_rs_loss

MASK = torch.tensor([[True, False, True, False], [False, True, False, False], [False, False, False, False]])
VALID = torch.tensor([[True, True, True, False], [True, True, False, False], [True, True, True, False]])
NONE = torch.zeros_like(MASK)

Loss = Callable[..., Tensor]


def numbers(seed: int) -> Tensor:
    return -torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3


def dpo(logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    return adaptive_dpo_loss(logps, numbers(3), other, numbers(4), mask, MASK, **settings)


def rejected(logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    return adaptive_dpo_loss(numbers(3), logps, numbers(4), other, MASK, mask, **settings)


def detached(logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    valid = {"chosen_valid": VALID, "rejected_valid": VALID}
    return adaptive_dpo_loss(logps, numbers(3), other, numbers(4), mask, MASK, detach=True, **valid, **settings)


def kto(logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    return adaptive_kto_loss(logps, other, mask, torch.tensor([True, False, True]), kl=0.2, **settings)


def rs(logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    return adaptive_rs_loss(logps, mask, other, beta=0.1, **settings)


def rs_exact(logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    return adaptive_rs_loss(logps, mask, kl=other, beta=0.1, **settings)


def ppo(logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    return adaptive_ppo_loss(logps, other, torch.tensor([1.0, -2.0, 1.0]), mask, other, beta=0.1, **settings)


def ppo_advantages(logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    return adaptive_ppo_loss(logps, numbers(5), other, mask, **settings)


LOSSES: list[Loss] = [dpo, rejected, kto, rs, rs_exact, ppo, ppo_advantages]
PLAIN: list[dict[str, Any]] = [{}, {"validate": False}]


def loss_and_gradient(loss: Loss, logps: Tensor, other: Tensor, mask: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
    logps = logps.clone().requires_grad_()
    value = loss(logps, other, mask, **settings)
    value.backward()
    assert logps.grad is not None
    return value.detach(), logps.grad


@pytest.mark.parametrize("settings", PLAIN, ids=["checked", "unchecked"])
@pytest.mark.parametrize("bad", [-math.inf, math.inf, math.nan, -1e30, 1e300])
@pytest.mark.parametrize("loss", LOSSES)
def test_masked_values_do_not_count(loss: Loss, bad: float, settings: dict[str, Any]) -> None:
    clean = loss_and_gradient(loss, numbers(0), numbers(1), MASK, **settings)
    for spoilt in ((True, True), (True, False), (False, True)):
        given = [numbers(at).masked_fill(~MASK & spoil, bad) for at, spoil in enumerate(spoilt)]
        value, gradient = loss_and_gradient(loss, given[0], given[1], MASK, **settings)
        assert torch.equal(value, clean[0])
        assert torch.equal(gradient, clean[1])
        assert not gradient[~MASK].any()


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_kept_of_what_is_not_finite(loss: Loss) -> None:
    value, gradient = loss_and_gradient(loss, numbers(0) * math.nan, numbers(1) * math.inf, NONE)
    assert value.isfinite()
    assert not gradient.any()


def test_with_detach_padding_does_not_count_and_masked_tokens_do() -> None:
    clean = loss_and_gradient(detached, numbers(0), numbers(1), MASK)
    padded = loss_and_gradient(detached, numbers(0).masked_fill(~VALID, math.nan), numbers(1), MASK)
    assert torch.equal(padded[0], clean[0])
    assert torch.equal(padded[1], clean[1])
    with pytest.raises(ValueError, match=r"chosen_logps holds numbers that are not finite .*first in row 0, token 1"):
        detached(numbers(0).masked_fill(~MASK, math.nan), numbers(1), MASK)
    with pytest.raises(ValueError, match="chosen_mask is true where chosen_valid is false"):
        detached(numbers(0), numbers(1), ~NONE)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("loss", LOSSES)
def test_kept_values_do(loss: Loss, place: int) -> None:
    given = [numbers(0), numbers(1)]
    given[place][1, 1] = math.nan
    with pytest.raises(ValueError, match=r"holds numbers that are not finite where the mask is true, .*row 1, token 1"):
        loss(given[0], given[1], MASK)
    assert loss(given[0], given[1], MASK, validate=False).isnan()


def test_no_gradient_flows_into_the_reference() -> None:
    for loss in (dpo, rejected, detached, kto, rs, ppo, ppo_advantages):
        other = numbers(1).requires_grad_()
        loss(numbers(0).requires_grad_(), other, MASK).backward()
        assert other.grad is None
    exact = numbers(1).requires_grad_()
    rs_exact(numbers(0), exact, MASK).backward()
    assert exact.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_summed_in_single(loss: Loss, dtype: torch.dtype) -> None:
    first, second = numbers(0).to(dtype), numbers(1).to(dtype)
    value = loss(first, second, MASK)
    assert value.dtype in (torch.float32, torch.float64)  # float64 where another argument is
    assert value == loss(first.float(), second.float(), MASK)


def test_a_long_sum_of_bfloat16() -> None:
    ratios = torch.full((1, 4096), 0.25, dtype=torch.bfloat16)
    zeros, mask = torch.zeros_like(ratios), torch.ones(1, 4096, dtype=torch.bool)
    rejected = torch.zeros(1, 4095, dtype=torch.bfloat16), torch.ones(1, 4095, dtype=torch.bool)
    margin = adaptive_dpo_loss(
        ratios, rejected[0] + 0.25, zeros, rejected[0], mask, rejected[1], loss_type="hinge", beta=1.0
    )
    assert margin == 0.75  # 1 − (1024 − 1023.75): bfloat16 has no 1023.75
