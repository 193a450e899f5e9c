"""Without the checks of values, one graph: ``torch.compile(fullgraph=True)`` gives the eager loss and gradient."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_data.losses import adaptive_dpo_loss, adaptive_kto_loss, adaptive_ppo_loss, adaptive_rs_loss

MASK = torch.tensor([[True, False, True, False], [False, True, False, False]])
VALID = torch.tensor([[True, True, True, False], [True, True, False, False]])


def numbers(seed: int) -> Tensor:
    return -torch.rand(2, 4, generator=torch.Generator().manual_seed(seed)) * 3


N: list[Tensor] = [numbers(seed) for seed in range(4)]
"""Made beforehand: a random number generator does not compile."""


def dpo(logps: Tensor, **settings: Any) -> Tensor:
    return adaptive_dpo_loss(logps, N[1], N[2], N[3], MASK, MASK, validate=False, **settings)


def detached(logps: Tensor) -> Tensor:
    return dpo(logps, detach=True, chosen_valid=VALID, rejected_valid=VALID)


def kto(logps: Tensor) -> Tensor:
    desirable = torch.tensor([True, False])
    return adaptive_kto_loss(logps, N[1], MASK, desirable, kl=torch.tensor(0.2), validate=False)


def rs(logps: Tensor, **settings: Any) -> Tensor:
    return adaptive_rs_loss(logps, MASK, N[1], beta=0.1, validate=False, **settings)


def ppo(logps: Tensor) -> Tensor:
    advantages = torch.tensor([1.0, -2.0])
    return adaptive_ppo_loss(logps, N[1], advantages, MASK, N[2], beta=0.1, validate=False)


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "dpo": dpo,
    "ipo": functools.partial(dpo, loss_type="ipo", length_normalized=True),
    "hinge": functools.partial(dpo, loss_type="hinge"),
    "detach": detached,
    "kto": kto,
    "rs": rs,
    "rs-sequence": functools.partial(rs, reduction="sequence"),
    "rs-normalizer": functools.partial(rs, normalizer=torch.tensor(7)),
    "ppo": ppo,
}


def check(loss: Callable[[Tensor], Tensor], backend: str) -> None:
    torch._dynamo.reset()
    eager, compiled = numbers(0).requires_grad_(), numbers(0).requires_grad_()
    expected = loss(eager)
    expected.backward()
    value = torch.compile(loss, fullgraph=True, backend=backend)(compiled)
    value.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(compiled.grad, eager.grad)


@pytest.mark.parametrize("name", LOSSES)
def test_one_graph(name: str) -> None:
    check(LOSSES[name], "aot_eager")


@pytest.mark.filterwarnings("ignore")  # the compiler's own, which differ from version to version of torch
@pytest.mark.skipif(
    not (shutil.which("gcc") or shutil.which("clang")), reason="the default backend needs a C++ compiler"
)
def test_with_the_default_backend() -> None:
    check(dpo, "inductor")
