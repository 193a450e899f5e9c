"""Hidden states of a decoder at the positions that are asked for. The engine knows nothing of rewards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from asr_data.errors import ConfigError
from asr_data.scoring.packing import joins, plan_batches, plan_padded
from asr_data.scoring.spread import execution_device
from asr_data.scoring.tree import Tree, grow_trees
from asr_data.scoring.tree_attention import read_places, tree_states, why_not_tree_remembered
from asr_data.types import Float32

logger = logging.getLogger(__name__)

TREE = "tree, in pieces"
"""For the manifest, which is compared before a run is resumed: another way of computing gives other last bits."""


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to run, and where to read it.

    Attributes:
        ids: token ids.
        read: positions whose hidden states are read; may be empty.
        target: a token id for each position of ``read``, where the readout needs one (log-probabilities).
        model: which model reads it, where a runner has two.
    """

    ids: list[int]
    read: list[int]
    target: list[int] | None = None
    model: int = 0


class Readout(Protocol):
    """From hidden states to one number each, or to several."""

    def __call__(self, hidden: Tensor, target: Tensor | None, /) -> Tensor:
        """Hidden states ``[n, hidden]`` in the model's dtype, targets int64 ``[n]`` or None → float32 ``[n]``, or
        ``[n, numbers]``."""
        ...


class Runner(Protocol):
    """What a scorer needs of an engine.

    ``attention`` says how it computes: :data:`TREE`, or ``plain`` with the reason.
    """

    @property
    def attention(self) -> str: ...  # noqa: D102 - the class says it

    def run(self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None) -> list[Float32 | None]:
        """Readings float32 ``[len(read)]``, or ``[len(read), numbers]``, of each request, in order; None where it does
        not fit into memory."""
        ...


class Engine:
    """Runs requests through a decoder; sequences that share a prefix are computed as a tree where it can take them.

    What runs together depends on the requests and the budget alone.

    Args:
        backbone: a transformers decoder without its head, on its device and in its dtype.
        readout: applied to the hidden states that are read.
        batch_tokens: positions per batch, padding included where there is any.
        share: False computes every sequence by itself.
        entry: the backbone's folder in the user's cache, where it is remembered that it takes trees.

    Attributes:
        attention: :data:`TREE`, or ``plain`` with the reason.
        joins: when a sequence joins the tree of the one before it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        readout: Readout,
        *,
        batch_tokens: int,
        share: bool = True,
        entry: Path | None = None,
    ) -> None:
        if batch_tokens < 1:
            raise ConfigError(f"batch_tokens must be at least 1, got {batch_tokens}")
        self.backbone = backbone
        self.readout = readout
        self.batch_tokens = batch_tokens
        reason = why_not_tree_remembered(backbone, entry) if share else "requested"
        self.attention = TREE if reason is None else f"plain: {reason}"
        if share and reason is not None:
            logger.warning(
                "shared prefixes are computed once per sequence, since this decoder does not support trees: %s", reason
            )
        self._shares = reason is None
        self.joins = joins(batch_tokens) if self._shares else _never

    def run(self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None) -> list[Float32 | None]:
        """See :class:`Runner`."""
        trees = list(grow_trees([r.ids for r in requests], self.joins))
        readings: list[Float32 | None] = [None] * len(requests)
        plan = plan_batches if self._shares else plan_padded
        for batch in plan([len(t.ids) for t in trees], self.batch_tokens):
            together = [trees[i] for i in batch]
            for i, reading in self._run(together, requests).items():
                readings[i] = reading
            if on_tokens is not None:
                on_tokens(sum(len(requests[i].ids) for tree in together for i in tree.members))
        return readings

    def _run(self, trees: Sequence[Tree], requests: Sequence[Request]) -> dict[int, Float32 | None]:
        """Readings of a batch by request; out of memory halves it."""
        try:
            return self._forward(trees, requests)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: the exception holds on to the tensors of the failed pass.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        members = [i for tree in trees for i in tree.members]
        if len(members) == 1:
            return {members[0]: None}
        if len(trees) > 1:
            first, second = trees[: len(trees) // 2], trees[len(trees) // 2 :]
        else:
            first, second = (_regrown(requests, half) for half in _halves(members))
        return self._run(first, requests) | self._run(second, requests)

    @property
    def _device(self) -> torch.device:
        return execution_device(self.backbone)

    @torch.inference_mode()
    def _forward(self, trees: Sequence[Tree], requests: Sequence[Request]) -> dict[int, Float32 | None]:
        states = tree_states(self.backbone, trees) if self._shares else _plain_states(self.backbone, trees)
        places = read_places(trees, [request.read for request in requests])
        targets = [t for i in places for t in requests[i].target or ()]
        target = torch.tensor(targets, device=self._device) if targets else None
        read = torch.from_numpy(np.concatenate(list(places.values()))).to(self._device)
        flat = self.readout(states[read], target).float().cpu()
        parts = torch.split(flat, [len(place) for place in places.values()])
        return {i: part.numpy() for i, part in zip(places, parts, strict=True)}


def one_batch(sequences: Sequence[Sequence[int]]) -> list[Tree]:
    """Sequences as trees for a single pass, as training needs them."""
    return list(grow_trees(sequences, joins()))


def _never(_size: int, _new: int, _length: int) -> bool:
    return False


def _halves(members: list[int]) -> tuple[list[int], list[int]]:
    return members[: len(members) // 2], members[len(members) // 2 :]


def _regrown(requests: Sequence[Request], members: Sequence[int]) -> list[Tree]:
    """Fresh trees for some of the requests of a tree that did not fit."""
    trees = grow_trees([requests[i].ids for i in members], lambda _size, _new, _length: True)
    return [replace(tree, members=tuple(members[m] for m in tree.members)) for tree in trees]


def _plain_states(backbone: nn.Module, chains: Sequence[Tree]) -> Tensor:
    """Hidden states ``[tokens, hidden]`` of single sequences, computed side by side with a padding mask."""
    device = execution_device(backbone)
    ids, attention = (x.to(device) for x in pad([chain.ids.tolist() for chain in chains]))
    states: Tensor = backbone(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
    return states[attention.bool()]


def is_out_of_memory(error: RuntimeError) -> bool:
    """On a CPU torch says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def pad(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Right-pad to int64 ``[batch, longest]`` ids and attention mask. The padding's id is never attended to."""
    longest = max(len(s) for s in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.int64)
    attention = torch.zeros(len(sequences), longest, dtype=torch.int64)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = torch.tensor(sequence)
        attention[i, : len(sequence)] = 1
    return ids, attention
