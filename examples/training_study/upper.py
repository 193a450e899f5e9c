"""What no arm changes is computed once: the layers below the adapter, of every token, for all arms and seeds."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from asr_data.scoring.engine import one_batch
from asr_data.scoring.tree_attention import read_places, tree_states

from .data import SIDES, Pair

_CHUNK = 128
"""Tokens whose logits are there at one time: 25 MB for SmolLM2's vocabulary."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A pair whose tokens are rows of :class:`LowerStates`.

    Attributes:
        sequences: prompt and response, by side.
        starts: where the response begins, by side.
        targets: the response's token ids, by side.
    """

    sequences: dict[str, list[int]]
    starts: dict[str, int]
    targets: dict[str, list[int]]


class LowerStates:
    """States bfloat16 ``[tokens, hidden]`` that enter the last ``layers`` layers of a decoder, shared prefixes once.

    Args:
        base: the model whose decoder it is; nothing below the last layers is trained.
        layers: how many of its last layers are left to compute.
    """

    def __init__(self, base: Any, layers: int) -> None:
        self._base, self._layers = base, layers
        self._states: list[Tensor] = []
        self._rows = 0

    @torch.no_grad()
    def add(self, pairs: Sequence[Pair], batch: int) -> list[Placed]:
        """Compute pairs, ``batch`` at a time."""
        decoder = self._base.model
        lower = _with(decoder, layers=nn.ModuleList(decoder.layers[: -self._layers]), norm=nn.Identity())
        placed = []
        for first in range(0, len(pairs), batch):
            some = pairs[first : first + batch]
            sequences = [pair.prompt_ids + pair.ids[side] for pair in some for side in SIDES]
            trees = one_batch(sequences)
            with torch.autocast(self._base.device.type, torch.bfloat16):
                states = tree_states(lower, trees)
            places = read_places(trees, [range(len(one)) for one in sequences])
            rows = iter([(self._rows + places[i]).tolist() for i in range(len(sequences))])
            for pair in some:
                own = {side: next(rows) for side in SIDES}
                placed.append(Placed(own, {side: len(pair.prompt_ids) for side in SIDES}, dict(pair.ids)))
            self._states.append(states.to(torch.bfloat16))
            self._rows += len(states)
        return placed

    def upper(self, decoder: nn.Module) -> nn.Module:
        """The last layers of a decoder, the base's or one with an adapter: its token ids are rows of these states."""
        self._states = [torch.cat(self._states)]
        layers = nn.ModuleList(decoder.layers[-self._layers :])  # type: ignore[index] # HF models
        rows = nn.Embedding.from_pretrained(self._states[0], freeze=True)  # type: ignore[no-untyped-call] # torch's
        return _with(decoder, layers=layers, embed_tokens=rows)


def _with(decoder: nn.Module, **modules: nn.Module) -> nn.Module:
    """A decoder that shares its modules with another one but for some."""
    own = copy.copy(decoder)
    own._modules = dict(decoder._modules)
    for name, module in modules.items():
        setattr(own, name, module)
    return own


def upper_log_probabilities(upper: nn.Module, head: nn.Module, pairs: Sequence[Placed]) -> dict[str, list[Tensor]]:
    """Of each response token, float32 ``[response]`` of each pair, by side."""
    asked = [(pair, side) for side in SIDES for pair in pairs]
    sequences = [pair.sequences[side] for pair, side in asked]
    trees = one_batch(sequences)
    device = next(upper.parameters()).device
    # torch's fused attention has a slow backward pass on a CPU where sequences are short.
    backends = [SDPBackend.MATH] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(backends):
        states = tree_states(upper, trees)
    places = read_places(
        trees, [range(p.starts[s] - 1, len(q) - 1) for (p, s), q in zip(asked, sequences, strict=True)]
    )
    read = torch.from_numpy(np.concatenate([places[i] for i in range(len(asked))])).to(device)
    target = torch.tensor([token for pair, side in asked for token in pair.targets[side]], device=device)
    flat = target_log_probabilities(states[read].float(), head.weight, target)  # type: ignore[arg-type] # a Linear
    parts = iter(torch.split(flat, [len(pair.targets[side]) for pair, side in asked]))
    return {side: [next(parts) for _ in pairs] for side in SIDES}


def target_log_probabilities(states: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Log softmax of a head without bias at one token each, a few rows at a time.

    Args:
        states: float32 ``[n, hidden]``.
        weight: float32 ``[vocabulary, hidden]``; it gets no gradient.
        target: int64 ``[n]``.

    Returns:
        float32 ``[n]``.
    """
    return _TargetLogProbabilities.apply(states, weight, target)  # type: ignore[no-any-return, no-untyped-call] # torch


class _TargetLogProbabilities(torch.autograd.Function):
    """Its gradient, ``weight[target] − softmax · weight``, is computed with the logits, which are not kept."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        needed = ctx.needs_input_grad[0]
        found = torch.empty(len(states), dtype=torch.float32, device=states.device)
        gradient = torch.empty_like(states) if needed else None
        for own, logits in _logits(states, weight):
            total = logits.logsumexp(dim=1)
            found[own] = logits.gather(1, target[own, None])[:, 0] - total
            if gradient is not None:
                logits.sub_(total[:, None]).exp_()
                gradient[own] = weight[target[own]] - logits @ weight
        ctx.save_for_backward(*([gradient] if gradient is not None else []))
        return found

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None, None]:
        [gradient] = ctx.saved_tensors
        return given[:, None] * gradient, None, None


def _logits(states: Tensor, weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Logits of some rows at a time, all in one piece of memory."""
    buffer = torch.empty(min(_CHUNK, len(states)), len(weight), device=states.device)
    for first in range(0, len(states), _CHUNK):
        own = slice(first, min(first + _CHUNK, len(states)))
        logits = buffer[: own.stop - own.start]
        torch.mm(states[own], weight.t(), out=logits)
        yield own, logits
