"""Micro-batches that are accumulated have the gradients of one batch, for every loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_data.losses import adaptive_dpo_loss, adaptive_kto_loss, adaptive_ppo_loss, adaptive_rs_loss

ROWS, TIME = 6, 102
MICRO_BATCHES = [slice(0, 1), slice(1, 4), slice(4, 6)]
KEPT = torch.tensor([100, 2, 50, 0, 7, 1])
MASK = torch.arange(TIME) < KEPT[:, None]

Loss = Callable[..., Tensor]


def numbers(seed: int) -> Tensor:
    return -torch.rand(ROWS, TIME, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dpo(logps: Tensor, rows: slice, **settings: Any) -> Tensor:
    other, reference = numbers(1)[rows], numbers(2)[rows]
    return adaptive_dpo_loss(logps[rows], other, reference, reference, MASK[rows], MASK[rows], **settings)


def kto(logps: Tensor, rows: slice, **settings: Any) -> Tensor:
    desirable = torch.tensor([True, False] * 3)[rows]
    return adaptive_kto_loss(logps[rows], numbers(2)[rows], MASK[rows], desirable, **settings)


def rs(logps: Tensor, rows: slice, **settings: Any) -> Tensor:
    return adaptive_rs_loss(logps[rows], MASK[rows], numbers(2)[rows], beta=0.3, **settings)


def ppo(logps: Tensor, rows: slice, **settings: Any) -> Tensor:
    advantages = torch.tensor([1.0, -2.0, 0.5, 1.0, 3.0, -1.0])[rows]
    return adaptive_ppo_loss(
        logps[rows], numbers(1)[rows], advantages, MASK[rows], numbers(2)[rows], beta=0.3, **settings
    )


def gradient(loss: Loss, parts: list[slice], **settings: Any) -> Tensor:
    logps = numbers(0).requires_grad_()
    for rows in parts:
        loss(logps, rows, **settings).backward()
    assert logps.grad is not None
    return logps.grad


ALL = [slice(None)]


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize(
    ("loss", "reduction", "counted"),
    [
        (dpo, "mean", ROWS),
        (kto, "mean", ROWS),
        (rs, "token", int(KEPT.sum())),
        (ppo, "token", int(KEPT.sum())),
        (rs, "sequence", ROWS),
        (ppo, "sequence", ROWS),
    ],
)
def test_micro_batches_equal_one_batch(loss: Loss, reduction: str, counted: int, as_tensor: bool) -> None:
    normalizer = torch.tensor(counted) if as_tensor else counted
    one = gradient(loss, ALL, reduction=reduction)
    parts = gradient(loss, MICRO_BATCHES, reduction=reduction, normalizer=normalizer)
    torch.testing.assert_close(parts, one, rtol=1e-12, atol=0)
    if counted != ROWS or reduction == "sequence":  # and without the normalizer they differ
        assert not torch.allclose(gradient(loss, MICRO_BATCHES, reduction=reduction) / len(MICRO_BATCHES), one)


@pytest.mark.parametrize("loss", [dpo, kto, rs, ppo])
def test_sums_add_up(loss: Loss) -> None:
    one = gradient(loss, ALL, reduction="sum")
    torch.testing.assert_close(gradient(loss, MICRO_BATCHES, reduction="sum"), one, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient(loss, ALL, reduction="sum", normalizer=4.0), one / 4, rtol=1e-12, atol=0)
    mean = "mean" if loss in (dpo, kto) else "token"
    counted = ROWS if mean == "mean" else int(KEPT.sum())
    torch.testing.assert_close(gradient(loss, ALL, reduction=mean), one / counted, rtol=1e-12, atol=0)


def test_what_a_token_weighs() -> None:
    """Rows of 100 and 2 kept tokens: 1/102 a token in one batch, 1/200 and 1/4 in two without the normalizer."""
    rows = [slice(0, 1), slice(1, 2)]

    def plain(logps: Tensor, part: slice, **settings: Any) -> Tensor:
        return adaptive_rs_loss(logps[part], MASK[part], **settings)

    together = gradient(plain, [slice(0, 2)])
    assert together[0, 0].item() == pytest.approx(-1 / 102)
    assert together[1, 0].item() == pytest.approx(-1 / 102)
    apart = gradient(plain, rows) / 2
    assert apart[0, 0].item() == pytest.approx(-1 / 200)
    assert apart[1, 0].item() == pytest.approx(-1 / 4)
    assert torch.equal(gradient(plain, rows, normalizer=102), together)


def test_nothing_kept_in_all_of_a_step() -> None:
    logps = numbers(0).requires_grad_()
    loss = adaptive_rs_loss(logps, torch.zeros_like(MASK), normalizer=torch.tensor(0))
    loss.backward()
    assert loss.item() == 0
    assert logps.grad is not None
    assert not logps.grad.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalizer": -1}, "normalizer is -1"),
        ({"normalizer": 0}, "normalizer is 0.0 and the batch has 160 kept tokens"),
        ({"normalizer": float("nan")}, "above 0 and finite"),
        ({"normalizer": torch.tensor(float("inf"))}, "above 0 and finite"),
        ({"normalizer": torch.ones(2)}, "must be one number"),
        ({"normalizer": 3, "reduction": "none"}, "reduction 'none' has none"),
    ],
)
def test_wrong_normalizers(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rs(numbers(0), slice(None), **settings)


@pytest.mark.parametrize("loss", [dpo, kto])
def test_wrong_reductions(loss: Loss) -> None:
    with pytest.raises(ValueError, match="reduction is 'token'; allowed are mean, sum, none"):
        loss(numbers(0), slice(None), reduction="token")
