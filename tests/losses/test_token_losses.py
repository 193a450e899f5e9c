"""ARS and APPO: values by hand, gradients by finite differences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from asr_data.losses import adaptive_ppo_loss, adaptive_rs_loss

LOGPS = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, -4.0, -1.0]], dtype=torch.float64)
REFERENCE = torch.tensor([[-1.5, -2.0, 0.0], [-0.5, -3.0, -9.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [False, True, False]])
NONE = torch.zeros(2, 3, dtype=torch.bool)
ADVANTAGES = torch.tensor([1.0, -2.0], dtype=torch.float64)


def k3(difference: float) -> float:
    return math.exp(difference) - difference - 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (1 + 2 + 4) / 3),
        ({"reduction": "sequence"}, (1.5 + 4) / 2),
        ({"beta": 0.5, "reference_logps": REFERENCE}, (7 + 0.5 * (k3(-0.5) + k3(0) + k3(1))) / 3),
        ({"beta": 2.0, "kl": torch.full((2, 3), 0.25, dtype=torch.float64)}, 7 / 3 + 0.5),
    ],
)
def test_rs_by_hand(settings: dict[str, Any], expected: float) -> None:
    assert float(adaptive_rs_loss(LOGPS, MASK, **settings)) == pytest.approx(expected)


def test_rs_of_each_row() -> None:
    assert adaptive_rs_loss(LOGPS, MASK & NONE[:1] | MASK[:1] & ~MASK[1:], reduction="none").shape == (2,)
    assert adaptive_rs_loss(LOGPS, torch.stack([MASK[0], NONE[0]]), reduction="none").tolist() == [1.5, 0.0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # ρ = e^0.5 > 1.2 is cut for A > 0; e^0 = 1; e^-1 < 0.8 is cut for A < 0, as the smaller of 2e^-1 and 2·0.8.
        ({}, -(1.2 + 1.0 - 2 * 0.8) / 3),
        ({"clip_high": 1.0}, -(math.exp(0.5) + 1.0 - 2 * 0.8) / 3),
        ({"clip": 0.9}, -(math.exp(0.5) + 1.0 - 2 * math.exp(-1)) / 3),
        ({"reduction": "sequence"}, -((1.2 + 1.0) / 2 - 2 * 0.8) / 2),
    ],
)
def test_ppo_by_hand(settings: dict[str, Any], expected: float) -> None:
    assert float(adaptive_ppo_loss(LOGPS, REFERENCE, ADVANTAGES, MASK, **settings)) == pytest.approx(expected)


def test_ppo_with_a_penalty() -> None:
    plain = adaptive_ppo_loss(LOGPS, REFERENCE, ADVANTAGES, MASK)
    penalized = adaptive_ppo_loss(LOGPS, REFERENCE, ADVANTAGES, MASK, REFERENCE, beta=0.3)
    assert float(penalized - plain) == pytest.approx(0.3 * (k3(-0.5) + k3(0) + k3(1)) / 3)


def test_advantages_of_each_token() -> None:
    spread = ADVANTAGES[:, None].expand(2, 3).contiguous()
    assert adaptive_ppo_loss(LOGPS, REFERENCE, spread, MASK) == adaptive_ppo_loss(LOGPS, REFERENCE, ADVANTAGES, MASK)


def losses(logps: Tensor, mask: Tensor, which: str) -> Tensor:
    if which == "rs":
        return adaptive_rs_loss(logps, mask, REFERENCE, beta=0.2)
    return adaptive_ppo_loss(logps, LOGPS + 0.05, ADVANTAGES, mask, REFERENCE, beta=0.2)


@pytest.mark.parametrize("which", ["rs", "ppo"])
def test_gradients(which: str) -> None:
    logps = LOGPS.clone().requires_grad_()
    assert gradcheck(lambda given: losses(given, MASK, which), (logps,))
    losses(logps, MASK, which).backward()
    assert logps.grad is not None
    assert not logps.grad[~MASK].any()
    assert logps.grad[MASK].all()


@pytest.mark.parametrize("which", ["rs", "ppo"])
def test_nothing_kept_is_zero_with_a_gradient_of_zero(which: str) -> None:
    logps = LOGPS.clone().requires_grad_()
    loss = losses(logps, NONE, which)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logps.grad is not None
    assert not logps.grad.any()


def test_all_true_masks_give_the_unmasked_losses() -> None:
    every = torch.ones(2, 3, dtype=torch.bool)
    assert float(adaptive_rs_loss(LOGPS, every)) == pytest.approx(float(-LOGPS.mean()))
    ratio = (LOGPS - REFERENCE).exp()
    surrogate = torch.min(ratio * ADVANTAGES[:, None], ratio.clamp(0.8, 1.2) * ADVANTAGES[:, None])
    assert float(adaptive_ppo_loss(LOGPS, REFERENCE, ADVANTAGES, every)) == pytest.approx(float(-surrogate.mean()))


def test_masked_tokens_far_from_the_old_policy_do_no_harm() -> None:
    logps = torch.tensor([[-1.0, -1.0]], requires_grad=True)
    old = torch.tensor([[-1.0, -1e6]])
    mask = torch.tensor([[True, False]])
    adaptive_ppo_loss(logps, old, torch.ones(1), mask, old, beta=0.1).backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [[-1.0, 0.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adaptive_rs_loss(LOGPS, MASK, beta=0.1), "needs either"),
        (lambda: adaptive_rs_loss(LOGPS, MASK, REFERENCE, kl=REFERENCE, beta=0.1), "needs either"),
        (lambda: adaptive_rs_loss(LOGPS, MASK, beta=-1), "at least 0"),
        (lambda: adaptive_rs_loss(LOGPS, MASK, reduction="mean"), "allowed are token, sequence, sum, none"),
        (lambda: adaptive_rs_loss(LOGPS * math.nan, MASK), "not finite"),
        (lambda: adaptive_ppo_loss(LOGPS, REFERENCE, ADVANTAGES[:1], MASK), "advantages has shape"),
        (lambda: adaptive_ppo_loss(LOGPS, REFERENCE, ADVANTAGES, MASK, clip=0), "clip is 0; it must be above 0"),
        (lambda: adaptive_ppo_loss(LOGPS, REFERENCE, ADVANTAGES, MASK, beta=0.1), "needs reference_logps"),
        (lambda: adaptive_ppo_loss(LOGPS, REFERENCE[:, :2], ADVANTAGES, MASK), "old_logps has shape"),
    ],
)
def test_wrong_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
