"""Values are worked out by hand; gradients by finite differences and against the unmasked loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from asr_data.losses import adaptive_dpo_loss, adaptive_kto_loss

MASK = torch.tensor([[True, True, False], [False, True, True]])
ALL, NONE = torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)


def numbers(seed: int, time: int = 3) -> Tensor:
    return -torch.rand(2, time, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


CHOSEN = torch.tensor([[-1.0, -2.0, -3.0]])
REJECTED = torch.tensor([[-1.0, -4.0, -1.0]])
REFERENCE = torch.tensor([[-2.0, -2.5, -1.0]])
# Log-ratios: chosen 1, 0.5, −2; rejected 1, −1.5, 0.
KEPT = (torch.tensor([[True, True, False]]), torch.tensor([[False, True, True]]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, -math.log(sigmoid(0.1 * (1.5 - -1.5)))),
        ({"beta": 2.0}, -math.log(sigmoid(2 * 3.0))),
        ({"loss_type": "hinge", "beta": 0.2}, 1 - 0.2 * 3),
        ({"loss_type": "hinge", "beta": 2.0}, 0.0),
        ({"loss_type": "ipo", "beta": 0.5}, ((0.75 - -0.75) - 1) ** 2),
        ({"length_normalized": True}, -math.log(sigmoid(0.1 * (0.75 - -0.75)))),
        ({"detach": True}, -math.log(sigmoid(0.1 * (-0.5 - -0.5)))),
        ({"detach": True, "length_normalized": True, "beta": 1.0}, -math.log(sigmoid(-0.5 / 3 + 0.5 / 3))),
    ],
)
def test_dpo_by_hand(settings: dict[str, Any], expected: float) -> None:
    valid = torch.ones(1, 3, dtype=torch.bool)
    if settings.get("detach"):
        settings = {**settings, "chosen_valid": valid, "rejected_valid": valid}
    loss = adaptive_dpo_loss(CHOSEN, REJECTED, REFERENCE, REFERENCE, *KEPT, **settings)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_dpo_of_each_row() -> None:
    chosen, rejected = CHOSEN.repeat(2, 1), REJECTED.repeat(2, 1)
    masks = (torch.cat([KEPT[0], NONE[:1]]), torch.cat([KEPT[1], NONE[:1]]))
    reference = REFERENCE.repeat(2, 1)
    losses = adaptive_dpo_loss(chosen, rejected, reference, reference, *masks, reduction="none")
    assert losses.tolist() == pytest.approx([-math.log(sigmoid(0.3)), math.log(2)])


@pytest.mark.parametrize(("loss_type", "value"), [("sigmoid", math.log(2)), ("hinge", 1.0), ("ipo", 25.0)])
def test_dpo_of_nothing(loss_type: Any, value: float) -> None:
    chosen = numbers(0).requires_grad_()
    loss = adaptive_dpo_loss(chosen, numbers(1), numbers(2), numbers(3), NONE, NONE, loss_type=loss_type)
    loss.backward()
    assert loss.item() == pytest.approx(value)
    assert chosen.grad is not None
    assert not chosen.grad.any()


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo", "hinge"])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("length_normalized", [False, True])
def test_dpo_gradients(loss_type: Any, detach: bool, length_normalized: bool) -> None:
    def loss(chosen: Tensor, rejected: Tensor) -> Tensor:
        return adaptive_dpo_loss(
            chosen,
            rejected,
            numbers(2),
            numbers(3, 4),
            MASK,
            torch.tensor([[True, False, True, True], [True, True, False, False]]),
            loss_type=loss_type,
            length_normalized=length_normalized,
            detach=detach,
            chosen_valid=ALL,
            rejected_valid=torch.ones(2, 4, dtype=torch.bool),
            beta=0.3,
        )

    inputs = (numbers(0).requires_grad_(), numbers(1, 4).requires_grad_())
    value = loss(*inputs)
    value.backward()
    for given, mask in zip(
        inputs, (MASK, torch.tensor([[True, False, True, True], [True, True, False, False]])), strict=True
    ):
        assert given.grad is not None
        assert not given.grad[~mask].any(), "masked tokens get exactly zero"
        assert given.grad[mask].all(), "kept tokens get some"
    if not detach:  # finite differences see through a stopped gradient
        assert gradcheck(loss, inputs)


def test_dpo_all_true_is_plain_dpo() -> None:
    chosen, rejected, reference, other = (numbers(seed) for seed in range(4))
    margin = (chosen - reference).sum(1) - (rejected - other).sum(1)
    plain = -(0.1 * margin).sigmoid().log().mean()
    assert adaptive_dpo_loss(chosen, rejected, reference, other, ALL, ALL).item() == pytest.approx(plain.item())


def test_detach_has_the_full_margin_and_the_masked_gradient() -> None:
    chosen, rejected, reference, other = (numbers(seed) for seed in range(4))
    full = adaptive_dpo_loss(chosen, rejected, reference, other, ALL, ALL, reduction="none")
    one, two = chosen.clone().requires_grad_(), chosen.clone().requires_grad_()
    valid = {"chosen_valid": ALL, "rejected_valid": ALL}
    stopped = adaptive_dpo_loss(one, rejected, reference, other, MASK, MASK, detach=True, reduction="none", **valid)
    assert torch.equal(stopped, full)
    stopped.sum().backward()
    adaptive_dpo_loss(two, rejected, reference, other, ALL, ALL, reduction="none").sum().backward()
    assert one.grad is not None
    assert two.grad is not None
    torch.testing.assert_close(one.grad, two.grad * MASK, rtol=0, atol=0)


KTO_LOGPS = torch.tensor([[-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.0]])
KTO_REFERENCE = torch.tensor([[-2.0, -2.5], [-2.0, -2.5], [0.0, 0.0]])
KTO_MASK = torch.tensor([[True, False], [True, True], [False, False]])


def test_kto_by_hand() -> None:
    desirable = torch.tensor([True, False, True])
    losses = adaptive_kto_loss(
        KTO_LOGPS, KTO_REFERENCE, KTO_MASK, desirable, kl=0.4, beta=0.5, undesirable_weight=2.0, reduction="none"
    )
    expected = [1 - sigmoid(0.5 * (1 - 0.4)), 2 * (1 - sigmoid(0.5 * (0.4 - 1.5))), 0.0]
    assert losses.tolist() == pytest.approx(expected)


def test_kto_gradients() -> None:
    desirable = torch.tensor([True, False])
    logps = numbers(0).requires_grad_()

    def loss(given: Tensor) -> Tensor:
        return adaptive_kto_loss(given, numbers(1), MASK, desirable, kl=torch.tensor(0.2, dtype=torch.float64))

    assert gradcheck(loss, (logps,))
    loss(logps).backward()
    assert logps.grad is not None
    assert not logps.grad[~MASK].any()
    assert logps.grad[MASK].all()


def test_kto_of_all_tokens_and_of_none() -> None:
    desirable = torch.tensor([True, False])
    ratio = (numbers(0) - numbers(1)).sum(1)
    plain = ((1 - (0.1 * ratio[0]).sigmoid()) + (1 - (-0.1 * ratio[1]).sigmoid())) / 2
    assert adaptive_kto_loss(numbers(0), numbers(1), ALL, desirable).item() == pytest.approx(plain.item())
    logps = numbers(0).requires_grad_()
    loss = adaptive_kto_loss(logps, numbers(1), NONE, desirable)
    loss.backward()
    assert loss.item() == 0
    assert logps.grad is not None
    assert not logps.grad.any()


def test_kto_no_gradient_through_the_kl() -> None:
    kl = torch.tensor(0.2, requires_grad=True)
    loss = adaptive_kto_loss(KTO_LOGPS.clone().requires_grad_(), KTO_REFERENCE, KTO_MASK, torch.ones(3).bool(), kl=kl)
    loss.backward()
    assert kl.grad is None


def call(**changed: Any) -> Callable[[], Tensor]:
    given: dict[str, Any] = {
        "chosen_logps": numbers(0),
        "rejected_logps": numbers(1),
        "reference_chosen_logps": numbers(2),
        "reference_rejected_logps": numbers(3),
        "chosen_mask": MASK,
        "rejected_mask": MASK,
    }
    return lambda: adaptive_dpo_loss(**{**given, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chosen_mask": MASK[:, :2]}, r"chosen_mask has shape \[2, 2\]; it must be \[2, 3\]"),
        ({"rejected_mask": MASK.int()}, "rejected_mask is torch.int32"),
        ({"reference_chosen_logps": numbers(2, 4)}, "reference_chosen_logps has shape"),
        ({"chosen_logps": numbers(0)[0]}, r"must be \[batch, time\]"),
        ({"rejected_logps": torch.full((2, 3), math.inf)}, "rejected_logps holds numbers that are not finite"),
        ({"chosen_logps": torch.ones(2, 3).int()}, "must be a float type"),
        ({"beta": 0.0}, "beta is 0.0"),
        ({"detach": True}, "pass chosen_valid"),
        ({"loss_type": "dpo"}, "allowed are sigmoid"),
        (
            {"rejected_logps": numbers(1)[:1], "reference_rejected_logps": numbers(1)[:1], "rejected_mask": MASK[:1]},
            "2 chosen and 1 rejected",
        ),
    ],
)
def test_wrong_input(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(**changed)()
