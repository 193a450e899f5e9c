from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_data.training.encode import Encoded, Unit
from asr_data.training.examples import Goal
from asr_data.training.objective import unit_loss

NAN = float("nan")


def unit(*targets: list[float]) -> Unit:
    sequences = (Encoded([0] * (len(t) + 1), 1, np.array(t, dtype=np.float32)) for t in targets)
    goal: Goal = "pair" if len(targets) == 2 else "labels"
    return Unit("g", "s", goal, tuple(sequences))


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers, requires_grad=True)


def test_pair_by_hand() -> None:
    # Means 2 and 1: -log σ(1) = log(1 + e^-1).
    loss = unit_loss(unit([NAN] * 2, [NAN] * 3), [values(1.0, 3.0), values(0.0, 0.0, 3.0)], 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_pair_of_equal_means() -> None:
    assert unit_loss(unit([NAN], [NAN]), [values(5.0), values(5.0)], 0.5).item() == pytest.approx(math.log(2))


def test_labels_by_hand() -> None:
    value = values(0.0, 2.0, -1.0, 7.0)
    target = [1.0, 1.0, 0.0, NAN]
    # -log σ(0), -log σ(2), -log(1 - σ(-1)) = log(1 + e^-1)
    entropy = (math.log(2) + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 3
    # bad -1 against good 0 and good 2
    ranking = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))) / 2
    for weight in (0.0, 0.25, 1.0):
        loss = unit_loss(unit(target), [value], weight)
        assert loss.item() == pytest.approx((1 - weight) * entropy + weight * ranking)


def test_soft_labels_by_hand() -> None:
    # Cross-entropy of σ(1) against 0.25; one class only, so that there is nothing to rank.
    sigma = 1 / (1 + math.exp(-1))
    wanted = -(0.25 * math.log(sigma) + 0.75 * math.log(1 - sigma))
    assert unit_loss(unit([0.25]), [values(1.0)], 0.5).item() == pytest.approx(0.5 * wanted)


def test_unknown_tokens_get_no_gradient() -> None:
    value = values(0.0, 2.0, 7.0)
    unit_loss(unit([1.0, 0.0, NAN]), [value], 0.5).backward()
    assert value.grad is not None
    good, bad, unknown = value.grad.tolist()
    assert good < 0 < bad
    assert unknown == 0


@pytest.mark.parametrize(("preferred", "sign"), [(True, 1.0), (False, -1.0)])
def test_verdict_by_hand(preferred: bool, sign: float) -> None:
    # Mean 0.5: -log σ(±0.5).
    one = Unit("g", "s", "verdict", unit([NAN, NAN]).sequences, preferred)
    loss = unit_loss(one, [values(2.0, -1.0)], 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-sign * 0.5)))
