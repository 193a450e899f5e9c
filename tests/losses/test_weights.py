"""Float weights in place of masks: to the bit where they are 1, by hand, by finite differences, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from asr_data.config import ShareWeights, SoftWeights, WeightConfig
from asr_data.losses import (
    adaptive_dpo_loss,
    adaptive_kto_loss,
    adaptive_mask,
    adaptive_ppo_loss,
    adaptive_rs_loss,
)
from asr_data.masks.apply import data_set_statistics, segment_and_mask
from tests.losses.test_online import random_batch

Loss = Callable[[Tensor, Tensor], Tensor]

DESIRABLE = torch.tensor([True, False, True])
VALID = torch.tensor([[True] * 4, [True] * 3 + [False], [True] * 4])


def numbers(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return -torch.rand(3, 4, dtype=dtype, generator=torch.Generator().manual_seed(seed)) * 3


def dpo(**settings: Any) -> Loss:
    def loss(logps: Tensor, mask: Tensor) -> Tensor:
        others = [numbers(seed, logps.dtype) for seed in (1, 2, 3)]
        if settings.get("detach"):
            return adaptive_dpo_loss(logps, *others, mask, mask, chosen_valid=VALID, rejected_valid=VALID, **settings)
        return adaptive_dpo_loss(logps, *others, mask, mask, **settings)

    return loss


def kto(logps: Tensor, mask: Tensor) -> Tensor:
    return adaptive_kto_loss(logps, numbers(1, logps.dtype), mask, DESIRABLE, kl=0.2)


def rs(reduction: Any, **settings: Any) -> Loss:
    return lambda logps, mask: adaptive_rs_loss(
        logps, mask, numbers(1, logps.dtype), beta=0.1, reduction=reduction, **settings
    ).sum()


def ppo(logps: Tensor, mask: Tensor) -> Tensor:
    advantages = torch.tensor([1.0, -2.0, 0.5], dtype=logps.dtype)
    old = logps.detach() + 0.1 * numbers(4, logps.dtype)
    return adaptive_ppo_loss(logps, old, advantages, mask, numbers(2, logps.dtype), beta=0.1)


LOSSES: dict[str, Loss] = {
    "dpo": dpo(),
    "dpo-normalized": dpo(length_normalized=True),
    "ipo": dpo(loss_type="ipo"),
    "hinge": dpo(loss_type="hinge", beta=0.2),
    "detach": dpo(detach=True),
    "kto": kto,
    "rs-token": rs("token"),
    "rs-sequence": rs("sequence"),
    "rs-sum": rs("sum"),
    "rs-none": rs("none"),
    "ppo": ppo,
}
MASK = torch.tensor([[True, False, True, False], [False, True, True, False], [False] * 4])
WEIGHTS = torch.tensor([[0.25, 0.0, 1.5, 0.0], [0.0, 0.5, 0.125, 0.0], [0.0] * 4], dtype=torch.float64)


def with_gradient(loss: Loss, mask: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    logps = numbers(0, dtype).requires_grad_()
    value = loss(logps, mask)
    value.backward()
    assert logps.grad is not None
    return value.detach(), logps.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_weight_1_is_the_mask_to_the_last_bit(name: str, dtype: torch.dtype) -> None:
    expected, gradient = with_gradient(LOSSES[name], MASK, dtype)
    for weights in (MASK.float(), MASK.double(), MASK.bfloat16()):
        value, own = with_gradient(LOSSES[name], weights, dtype)
        assert torch.equal(value, expected)
        assert torch.equal(own, gradient)


@pytest.mark.parametrize("name", LOSSES)
def test_weight_0_has_no_gradient_whatever_stands_there(name: str) -> None:
    _, gradient = with_gradient(LOSSES[name], WEIGHTS)
    assert torch.equal(gradient != 0, WEIGHTS > 0)
    if name == "detach":
        return  # masked tokens are in the margin's value there
    filled = numbers(0).where(WEIGHTS > 0, torch.tensor(math.nan, dtype=torch.float64)).requires_grad_()
    LOSSES[name](filled, WEIGHTS).backward()
    assert torch.equal(filled.grad, gradient)  # type: ignore[arg-type] # there is one


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("detach", "ppo")])
def test_gradients(name: str) -> None:
    assert gradcheck(lambda logps: LOSSES[name](logps, WEIGHTS), [numbers(0).requires_grad_()])


def test_ppo_gradient_by_finite_differences() -> None:
    # ``old`` is fixed here: the clipped ratio is smooth where it is not at a bound.
    old = numbers(0) + 0.03
    advantages = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    assert gradcheck(lambda logps: adaptive_ppo_loss(logps, old, advantages, WEIGHTS), [numbers(0).requires_grad_()])


def test_by_hand() -> None:
    logps, reference = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[-2.0, -2.5, -1.0]])
    # Log-ratios 1, 0.5, −2.
    weights = torch.tensor([[0.5, 2.0, 0.0]])
    other = torch.tensor([[1.0, 0.0, 0.25]])
    margin = (0.5 * 1 + 2 * 0.5) - (1 - 0.25 * 2)
    loss = adaptive_dpo_loss(logps, logps, reference, reference, weights, other)
    assert float(loss) == pytest.approx(math.log1p(math.exp(-0.1 * margin)))
    mean = 1.5 / 2.5 - 0.5 / 1.25
    loss = adaptive_dpo_loss(logps, logps, reference, reference, weights, other, length_normalized=True)
    assert float(loss) == pytest.approx(math.log1p(math.exp(-0.1 * mean)))
    assert float(adaptive_rs_loss(logps, weights)) == pytest.approx((0.5 * 1 + 2 * 2) / 2.5)
    assert float(adaptive_rs_loss(logps, weights, reduction="sum")) == pytest.approx(4.5)
    assert float(adaptive_rs_loss(logps, 0.1 * weights)) == pytest.approx(1.8)  # a sum of weights below 1 divides, too


def test_detach_weighs_gradients_and_not_the_value() -> None:
    valid = torch.ones(1, 3, dtype=torch.bool)
    reference = torch.zeros(1, 3)
    found = []
    for weights in (torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.5, 2.0, 0.0]])):
        logps = torch.tensor([[-1.0, -2.0, -3.0]]).requires_grad_()
        loss = adaptive_dpo_loss(
            logps,
            torch.zeros(1, 3),
            reference,
            reference,
            weights,
            torch.ones(1, 3),
            detach=True,
            chosen_valid=valid,
            rejected_valid=valid,
        )
        loss.backward()
        found.append((loss.item(), logps.grad))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[1][1], found[0][1] * torch.tensor([[0.5, 2.0, 0.0]]))


def test_micro_batches_add_up_with_the_sum_of_weights() -> None:
    logps = numbers(0)
    whole = adaptive_rs_loss(logps, WEIGHTS)
    total = float(WEIGHTS.sum())
    parts = [adaptive_rs_loss(logps[i : i + 1], WEIGHTS[i : i + 1], normalizer=total) for i in range(3)]
    torch.testing.assert_close(sum(parts), whole)
    with pytest.raises(ValueError, match=r"normalizer is 0.0 and the batch has 2.375 kept tokens"):
        adaptive_rs_loss(logps, WEIGHTS, normalizer=0.0)


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", LOSSES)
def test_wrong_weights_name_row_and_token(name: str, value: float) -> None:
    weights = WEIGHTS.clone()
    weights[1, 2] = value
    what = "mask is negative" if value == -0.5 else "mask holds numbers that are not finite"
    with pytest.raises(ValueError, match=rf"{what}, first in row 1, token 2"):
        LOSSES[name](numbers(0), weights)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_another_length_or_type(name: str) -> None:
    with pytest.raises(ValueError, match=r"mask has shape \[3, 3\]; it must be \[3, 4\]"):
        LOSSES[name](numbers(0), WEIGHTS[:, :3])
    with pytest.raises(ValueError, match=r"mask is torch.int64; a mask is bool"):
        LOSSES[name](numbers(0), MASK.long())


def test_all_zero_is_the_empty_mask() -> None:
    zero = torch.zeros(3, 4)
    value, gradient = with_gradient(dpo(), zero)
    assert value == pytest.approx(math.log(2))
    assert not gradient.any()
    for name in ("kto", "rs-token", "rs-sequence", "rs-sum", "rs-none", "ppo"):
        value, gradient = with_gradient(LOSSES[name], zero)
        assert value == 0
        assert not gradient.any()


RULES: list[WeightConfig | str] = ["segment", SoftWeights(low=-1.0, high=0.5), ShareWeights(share=0.35), "confidence"]


@pytest.mark.parametrize("on_empty", ["keep-all", "keep-best", "drop"])
@pytest.mark.parametrize("end_token", ["keep", "mask", "segment"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_online_weights_equal_the_columns(rule: WeightConfig | str, end_token: Any, on_empty: Any) -> None:
    from dataclasses import replace

    from asr_data.config import FixedBaseline, MaskConfig, Schmitt

    batch, padded = random_batch(5)
    logps = -torch.rand(padded["valid"].shape, generator=torch.Generator().manual_seed(1))
    batch = replace(batch, reference=logps[padded["valid"]].numpy())
    shared: dict[str, Any] = {"segmenter": Schmitt(delta=0.3), "end_token": end_token, "on_empty": on_empty}
    config = MaskConfig(**shared, baseline=FixedBaseline(value=0.1), weights=rule)  # type: ignore[arg-type] # a name
    statistics = data_set_statistics(lambda: [batch], config)
    expected, _ = segment_and_mask(batch, config, statistics)
    assert expected.weight is not None
    names = ("rewards", "valid", "preferred", "written", "end")
    given = {name: padded[name] for name in names if name in padded}
    found = adaptive_mask(
        **given,
        **shared,
        baseline=0.1,
        weights=rule,
        mean_distance=statistics.mean_distance,
        reference_logps=logps,
    )
    assert found.dtype == torch.float32
    offline = expected.weight.copy()
    if on_empty == "drop":  # offline the rows go; here they are masked
        offline[np.repeat(expected.empty, np.diff(batch.row_offsets))] = 0
    assert found[padded["valid"]].numpy() == pytest.approx(offline, rel=1e-6)
    assert not found[~padded["valid"]].any()


def test_online_weights_need_what_they_need() -> None:
    rewards = torch.tensor([[1.0, -1.0, 2.0]])
    valid, good = torch.ones(1, 3, dtype=torch.bool), torch.tensor([True])
    with pytest.raises(ValueError, match="need reference_logps"):
        adaptive_mask(rewards, valid, good, weights="confidence")
    with pytest.raises(ValueError, match="mean_distance is -1"):
        adaptive_mask(rewards, valid, good, segmenter="token", baseline=0.0, weights="segment", mean_distance=-1)
    found = adaptive_mask(rewards, valid, good, segmenter="token", baseline=0.0, weights="segment")
    assert found[0].tolist() == pytest.approx([1 / 1.5, 0, 2 / 1.5])  # by the batch's own mean
