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
from asr_data.scoring.packing import Cost, plan_rows
from asr_data.scoring.spread import execution_device
from asr_data.scoring.tree import Tree, grow_trees
from asr_data.scoring.tree_attention import read_places, tree_states, why_not_tree_remembered
from asr_data.types import Float32

logger = logging.getLogger(__name__)


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

    ``attention`` says how it computes: ``tree``, or ``plain`` with the reason.
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
        batch_tokens: positions per batch, padding included.
        share: False computes every sequence by itself.
        entry: the backbone's folder in the user's cache, where it is remembered that it takes trees.

    Attributes:
        attention: ``tree``, or ``plain`` with the reason.
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
        self.attention = "tree" if reason is None else f"plain: {reason}"
        if share and reason is not None:
            logger.warning(
                "shared prefixes are computed once per sequence, since this decoder does not support trees: %s", reason
            )
        self._shares = reason is None
        self.joins = attention_cost(backbone).joins(batch_tokens) if self._shares else _never

    def run(self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None) -> list[Float32 | None]:
        """See :class:`Runner`."""
        trees = list(grow_trees([r.ids for r in requests], self.joins))
        readings: list[Float32 | None] = [None] * len(requests)
        for batch in plan_rows([len(t.ids) for t in trees], self.batch_tokens, pack=self._shares):
            rows = [[trees[i] for i in row] for row in batch]
            for i, reading in self._run(rows, requests).items():
                readings[i] = reading
            if on_tokens is not None:
                on_tokens(sum(len(requests[i].ids) for row in rows for tree in row for i in tree.members))
        return readings

    def _run(self, rows: Sequence[Sequence[Tree]], requests: Sequence[Request]) -> dict[int, Float32 | None]:
        """Readings of a batch by request; out of memory halves it."""
        try:
            return self._forward(rows, requests)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: the exception holds on to the tensors of the failed pass.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        members = [i for row in rows for tree in row for i in tree.members]
        if len(members) == 1:
            return {members[0]: None}
        if len(rows) > 1:
            first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        else:
            first, second = (_regrown(requests, half) for half in _halves(members))
        return self._run(first, requests) | self._run(second, requests)

    @property
    def _device(self) -> torch.device:
        return execution_device(self.backbone)

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Sequence[Tree]], requests: Sequence[Request]) -> dict[int, Float32 | None]:
        states = tree_states(self.backbone, rows) if self._shares else _plain_states(self.backbone, rows)
        places = read_places(rows, states.shape[1], [request.read for request in requests])
        targets = [t for i in places for t in requests[i].target or ()]
        target = torch.tensor(targets, device=self._device) if targets else None
        read = torch.from_numpy(np.concatenate(list(places.values()))).to(self._device)
        flat = self.readout(states.flatten(0, 1)[read], target).float().cpu()
        parts = torch.split(flat, [len(place) for place in places.values()])
        return {i: part.numpy() for i, part in zip(places, parts, strict=True)}


def attention_cost(backbone: nn.Module) -> Cost:
    """The row length at which attention costs as much as the matrix products do, from the decoder's sizes.

    A position costs 2 operations for every weight of a layer, and 4 × heads × head size for every other position.
    Attention with a mask does fewer of them in a second than the rest of a layer: about half of them on a CPU, a
    quarter on a GPU.
    """
    slower = 4 if execution_device(backbone).type == "cuda" else 2
    config = backbone.config.get_text_config()  # type: ignore[union-attr, operator] # HF models
    embedding = backbone.get_input_embeddings()  # type: ignore[operator] # HF models
    weights = sum(p.numel() for p in backbone.parameters()) - embedding.weight.numel()
    heads = int(config.num_attention_heads)
    head_size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return Cost(2 * weights / (4 * heads * head_size * int(config.num_hidden_layers)) / slower)


def one_batch(backbone: nn.Module, sequences: Sequence[Sequence[int]]) -> list[list[Tree]]:
    """Sequences as rows of trees for a single pass, as training needs them: nothing is left for another batch."""
    trees = list(grow_trees(sequences, attention_cost(backbone).joins(2 * max(map(len, sequences)))))
    lengths = [len(tree.ids) for tree in trees]
    [plan] = plan_rows(lengths, len(trees) * sum(lengths))
    return [[trees[i] for i in row] for row in plan]


def _never(_size: int, _new: int, _length: int) -> bool:
    return False


def _halves(members: list[int]) -> tuple[list[int], list[int]]:
    return members[: len(members) // 2], members[len(members) // 2 :]


def _regrown(requests: Sequence[Request], members: Sequence[int]) -> list[list[Tree]]:
    """Rows of fresh trees, one each, for some of the requests of a tree that did not fit."""
    trees = grow_trees([requests[i].ids for i in members], lambda _size, _new, _length: True)
    return [[replace(tree, members=tuple(members[m] for m in tree.members))] for tree in trees]


def _plain_states(backbone: nn.Module, rows: Sequence[Sequence[Tree]]) -> Tensor:
    """Hidden states of chains, one a row, with a padding mask."""
    device = execution_device(backbone)
    ids, attention = pad([row[0].ids.tolist() for row in rows])
    return backbone(input_ids=ids.to(device), attention_mask=attention.to(device), use_cache=False).last_hidden_state


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
