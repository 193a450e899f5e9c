"""Log-probabilities far apart, by hand: masked ones do nothing, kept ones stay bounded as published losses are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from asr_data.losses import adaptive_dpo_loss, adaptive_kto_loss, adaptive_ppo_loss, adaptive_rs_loss

KEPT_FIRST = torch.tensor([[True, False]])
ONE = torch.tensor([[True]])


def gradient(loss: Tensor, logps: Tensor) -> list[list[float]]:
    loss.backward()
    assert logps.grad is not None
    return logps.grad.tolist()


def at(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor([[value]], dtype=dtype, requires_grad=True)


def test_a_masked_token_far_below_the_reference() -> None:
    logps = torch.tensor([[-1.0, -100.0]], requires_grad=True)
    reference = torch.tensor([[-1.5, -5.0]])  # e⁹⁵ is no float32
    loss = adaptive_rs_loss(logps, KEPT_FIRST, reference, beta=0.1)
    assert loss.item() == pytest.approx(1 + 0.1 * (math.exp(-0.5) + 0.5 - 1))
    kept, masked = gradient(loss, logps)[0]
    assert kept == pytest.approx(-1 + 0.1 * (1 - math.exp(-0.5)))
    assert masked == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("logp", "reference", "kl", "slope"),
    [
        (-1.5, -1.0, math.exp(0.5) - 1.5, 1 - math.exp(0.5)),  # d = ½
        (-1.5, -11.5, math.exp(-10) + 9, 1 - math.exp(-10)),  # d = −10
        (-30.0, -5.0, 10.0, 0.0),  # d = 25: 7.2e10 without the bound
        (-100.0, -5.0, 10.0, 0.0),  # d = 95: infinite in float32
        (-1.0, -1000.0, 10.0, 0.0),  # d = −999
    ],
)
def test_the_kl_of_a_kept_token(logp: float, reference: float, kl: float, slope: float, dtype: torch.dtype) -> None:
    logps, other = at(logp, dtype), torch.tensor([[reference]], dtype=dtype)
    loss = adaptive_rs_loss(logps, ONE, other, beta=0.1)
    assert loss.item() == pytest.approx(-logp + 0.1 * kl, rel=1e-5)
    assert gradient(loss, logps)[0][0] == pytest.approx(-1 + 0.1 * slope, rel=1e-2 if dtype.itemsize == 2 else 1e-5)
    logps = at(logp, dtype)
    loss = adaptive_ppo_loss(logps, logps.detach(), torch.zeros(1), ONE, other, beta=1.0)
    assert loss.item() == pytest.approx(kl, rel=1e-5)
    assert gradient(loss, logps)[0][0] == pytest.approx(slope, rel=1e-2 if dtype.itemsize == 2 else 1e-5, abs=1e-6)


def test_an_exact_kl_is_taken_as_it_is() -> None:
    assert adaptive_rs_loss(at(-1.0), ONE, kl=torch.tensor([[50.0]]), beta=0.1).item() == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("difference", "advantage", "loss", "slope"),
    [
        (1000.0, 1.0, -1.2, 0.0),  # ρ cut at 1 + ε
        (-1000.0, -1.0, 0.8, 0.0),  # at 1 − ε
        (-1000.0, 1.0, -math.exp(-20), 0.0),
        (1000.0, -1.0, math.exp(20), 0.0),  # infinite without the bound
        (3.0, -1.0, math.exp(3), math.exp(3)),  # and nothing changes within it
    ],
)
def test_the_ratio_of_a_kept_token(difference: float, advantage: float, loss: float, slope: float) -> None:
    logps = at(-1.0)
    value = adaptive_ppo_loss(logps, torch.tensor([[-1.0 - difference]]), torch.tensor([advantage]), ONE)
    assert value.item() == pytest.approx(loss, rel=1e-5)
    assert gradient(value, logps)[0][0] == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("masked", [-100.0, -1e4, 1e30, -3.4e38, -math.inf, math.nan])
def test_masked_tokens_of_the_ratio_and_the_kl(masked: float) -> None:
    logps = torch.tensor([[-1.0, masked]], requires_grad=True)
    old = torch.tensor([[-1.0, -1.0]])
    loss = adaptive_ppo_loss(logps, old, torch.tensor([-2.0]), KEPT_FIRST, old, beta=0.1)
    assert loss.item() == 2
    assert gradient(loss, logps) == [[2.0, 0.0]]


@pytest.mark.parametrize(
    ("loss_type", "margin", "loss", "slope"),
    [
        ("sigmoid", 1e6, 0.0, 0.0),
        ("sigmoid", -1e6, 1e5, -0.1),
        ("sigmoid", -3e38, 3e37, -0.1),
        ("hinge", 1e6, 0.0, 0.0),
        ("hinge", -1e6, 1e5 + 1, -0.1),
        ("ipo", 1e6, (1e6 - 5) ** 2, 2 * (1e6 - 5)),
        ("ipo", -1e6, (1e6 + 5) ** 2, -2 * (1e6 + 5)),
    ],
)
def test_extreme_margins(loss_type: Any, margin: float, loss: float, slope: float) -> None:
    chosen, zero = at(margin), torch.zeros(1, 1)
    value = adaptive_dpo_loss(chosen, zero, zero, zero, ONE, ONE, loss_type=loss_type, beta=0.1)
    assert value.item() == pytest.approx(loss, rel=1e-6)
    assert gradient(value, chosen)[0][0] == pytest.approx(slope, rel=1e-5)


def test_a_loss_that_overflows_is_an_error() -> None:
    zero = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="the loss of row 0 is not finite"):
        adaptive_dpo_loss(at(-3.4e38), zero, zero, zero, ONE, ONE, loss_type="ipo")
    with pytest.raises(ValueError, match="the loss of row 0 is not finite"):
        adaptive_rs_loss(torch.full((1, 2), -3e38), torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize(("ratio", "desirable", "loss"), [(1e6, True, 0.0), (-1e6, True, 1.0), (1e6, False, 1.0)])
def test_kto_far_from_the_reference(ratio: float, desirable: bool, loss: float) -> None:
    logps = at(ratio)
    value = adaptive_kto_loss(logps, torch.zeros(1, 1), ONE, torch.tensor([desirable]))
    assert value.item() == loss
    assert gradient(value, logps) == [[0.0]]


def test_kto_of_a_good_response_keeps_its_digits() -> None:
    """1 − σ(20) in float32 is 0; σ(−20) is not."""
    value = adaptive_kto_loss(at(200.0), torch.zeros(1, 1), ONE, torch.tensor([True]))
    assert value.item() == pytest.approx(math.exp(-20), rel=1e-5)


@pytest.mark.parametrize("kl", [-3.0, torch.tensor(-3.0), torch.tensor(-3.0, dtype=torch.bfloat16)])
def test_kto_a_kl_is_never_negative(kl: Any) -> None:
    desirable = torch.tensor([True])
    expected = adaptive_kto_loss(at(2.0), torch.zeros(1, 1), ONE, desirable, kl=0.0)
    assert torch.equal(adaptive_kto_loss(at(2.0), torch.zeros(1, 1), ONE, desirable, kl=kl), expected)
    for bad in (math.nan, math.inf, torch.ones(2)):
        with pytest.raises(ValueError, match="kl must be one finite number"):
            adaptive_kto_loss(at(2.0), torch.zeros(1, 1), ONE, desirable, kl=bad)


@pytest.mark.parametrize("which", ["dpo", "kto", "rs", "ppo"])
def test_gradients_beside_masked_tokens_that_are_far_away(which: str) -> None:
    mask = torch.tensor([[True, False, True], [False, True, False]])
    far = torch.tensor([[-1.0, -1e4, -2.0], [-1e4, -0.5, -1e4]], dtype=torch.float64)
    near = torch.tensor([[-1.2, -5.0, -1.7], [-3.0, -0.9, -2.0]], dtype=torch.float64)

    def loss(logps: Tensor) -> Tensor:
        if which == "dpo":
            return adaptive_dpo_loss(logps, near, near, near - 9.0, mask, mask)
        if which == "kto":
            return adaptive_kto_loss(logps, near, mask, torch.tensor([True, False]))
        if which == "rs":
            return adaptive_rs_loss(logps, mask, near, beta=0.2)
        return adaptive_ppo_loss(logps, near, torch.tensor([1.0, -1.0]).double(), mask, near, beta=0.2, clip=0.5)

    assert gradcheck(loss, (far.requires_grad_(),))
