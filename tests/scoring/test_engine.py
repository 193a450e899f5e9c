"""Readings against one sequence at a time through the same decoder, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, LlamaConfig

from asr_data.errors import ConfigError
from asr_data.scoring.engine import Engine, Request, pad

PROMPT = list(range(10, 30))
REQUESTS = [
    Request([*PROMPT, 1, 2, 3], [0, 22, 20]),
    Request([*PROMPT, 1, 5], [21]),
    Request([7], [0]),
    Request([9, 8, 7, 6], []),
    Request([*PROMPT, 4, 4, 4, 4, 4, 4, 4, 4], [27, 27, 3]),
]
OUT_OF_MEMORY = [
    lambda: torch.OutOfMemoryError("CUDA out of memory"),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return AutoModel.from_config(config, dtype=torch.float32).eval()


def mean(hidden: Tensor, target: Tensor | None) -> Tensor:
    return hidden.mean(dim=-1) if target is None else hidden.mean(dim=-1) + target


def alone(backbone: nn.Module, request: Request) -> np.ndarray:
    with torch.inference_mode():
        hidden = backbone(input_ids=torch.tensor([request.ids])).last_hidden_state[0]
    read = hidden[request.read].mean(dim=-1).numpy()
    return read if request.target is None else read + np.array(request.target)


def check(readings: Sequence[np.ndarray | None], requests: Sequence[Request], backbone: nn.Module) -> None:
    assert len(readings) == len(requests)
    for reading, request in zip(readings, requests, strict=True):
        assert reading is not None
        assert reading.dtype == np.float32
        np.testing.assert_allclose(reading, alone(backbone, request), atol=1e-5)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("batch_tokens", [1, 24, 64, 4096])
def test_each_request_as_if_it_were_alone(share: bool, batch_tokens: int, backbone: nn.Module) -> None:
    engine = Engine(backbone, mean, batch_tokens=batch_tokens, share=share)
    assert engine.attention == ("tree, in pieces" if share else "plain: requested")
    check(engine.run(REQUESTS), REQUESTS, backbone)


@pytest.mark.parametrize("share", [True, False])
def test_targets_reach_the_readout_in_order(share: bool, backbone: nn.Module) -> None:
    requests = [Request(r.ids, r.read, [10 * i + k for k in range(len(r.read))]) for i, r in enumerate(REQUESTS)]
    check(Engine(backbone, mean, batch_tokens=64, share=share).run(requests), requests, backbone)


def test_no_requests(backbone: nn.Module) -> None:
    assert Engine(backbone, mean, batch_tokens=64).run([]) == []


def test_tokens_are_counted_as_asked_for(backbone: nn.Module) -> None:
    counts: list[int] = []
    Engine(backbone, mean, batch_tokens=30).run(REQUESTS, counts.append)
    assert sum(counts) == sum(len(r.ids) for r in REQUESTS)
    assert len(counts) > 1


def test_no_budget(backbone: nn.Module) -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        Engine(backbone, mean, batch_tokens=0)


# --- memory ----------------------------------------------------------------------------------------------


def with_memory(
    backbone: nn.Module, positions: int, error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """The decoder runs out of memory above so many positions; returns the sizes that are tried."""
    forward, sizes = backbone.forward, []

    def small(*, input_ids: Tensor, **more: Any) -> Any:
        sizes.append(input_ids.numel())
        if input_ids.numel() > positions:
            raise error()
        return forward(input_ids=input_ids, **more)

    monkeypatch.setattr(backbone, "forward", small)
    return sizes


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu"])
def test_out_of_memory_splits_the_batch(
    share: bool, error: Callable[[], Exception], backbone: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [alone(backbone, request) for request in REQUESTS]
    engine = Engine(backbone, mean, batch_tokens=4096, share=share)
    sizes = with_memory(backbone, 28, error, monkeypatch)
    for reading, plain in zip(engine.run(REQUESTS), wanted, strict=True):
        np.testing.assert_allclose(reading, plain, atol=1e-5)
    assert max(sizes) > 28


@pytest.mark.parametrize("share", [True, False])
def test_what_does_not_fit_alone_has_no_reading(
    share: bool, backbone: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [alone(backbone, request) for request in REQUESTS]
    engine = Engine(backbone, mean, batch_tokens=4096, share=share)
    with_memory(backbone, 25, OUT_OF_MEMORY[0], monkeypatch)
    *others, last = engine.run(REQUESTS)
    assert last is None
    for reading, plain in zip(others, wanted, strict=False):
        np.testing.assert_allclose(reading, plain, atol=1e-5)


def test_other_failures_are_not_hidden(backbone: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(backbone, mean, batch_tokens=4096)
    with_memory(backbone, 0, lambda: RuntimeError("device-side assert"), monkeypatch)
    with pytest.raises(RuntimeError, match="device-side assert"):
        engine.run(REQUESTS)


def test_padding_by_hand() -> None:
    ids, attention = pad([[5], [6, 7, 8]])
    assert ids.tolist() == [[5, 0, 0], [6, 7, 8]]
    assert attention.tolist() == [[1, 0, 0], [1, 1, 1]]
