"""Attention in token trees, cut into pieces: some consecutive nodes, and the nodes that they attend to.

A tree's nodes attend to their ancestors and themselves. A chain that begins a tree attends to itself alone: one fused
causal pass without a mask. A chain that hangs on others attends to what is above it and to itself: a pass over these
keys alone, with a mask of that size. So no work goes into pairs of branches, and no mask is as large as a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_data.scoring.tree import Tree
from asr_data.types import Int64

_CALL = 4096
"""Pairs of query and key whose attention takes as long as one more call does."""
_BLOCK = 256
"""Nodes of a chain with ancestors that are computed at once: a longer piece computes more of what its mask hides."""


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees one behind the other.

    Attributes:
        ids, depth, end: int64 ``[nodes]``, see :class:`asr_data.scoring.tree.Tree`; ``end`` counts over all trees.
        chains: int64 ``[chains]``, first nodes.
    """

    ids: Int64
    depth: Int64
    end: Int64
    chains: Int64

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> Forest:
        """Of at least one tree."""
        first = np.cumsum([0, *(len(tree.ids) for tree in trees)])

        def joined(name: str, *, shifted: bool = False) -> Int64:
            parts = [getattr(tree, name).astype(np.int64) for tree in trees]
            return np.concatenate([part + at if shifted else part for part, at in zip(parts, first, strict=False)])

        return cls(joined("ids"), joined("depth"), joined("end", shifted=True), joined("chains", shifted=True))

    def above(self, node: int) -> Int64:
        """Ancestors of a node, int64 ``[ancestors]``."""
        ancestors: Int64 = np.flatnonzero(self.end[:node] > node)
        return ancestors


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Nodes that are computed at once.

    Attributes:
        first, stop: the nodes.
        keys: the nodes that they attend to: consecutive ones, or int64 ``[keys]``.
        mask: ``[1, 1, nodes, keys]``, added to the scores; None where every node attends to those up to itself.
    """

    first: int
    stop: int
    keys: slice | Int64
    mask: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Pieces whose keys are picked in one call.

    Attributes:
        pieces: in order.
        picked: int64 ``[picked]``, the keys that are not consecutive, of one piece after the other; None for none.
    """

    pieces: tuple[Piece, ...]
    picked: Tensor | None

    def keys(self, states: Tensor) -> Iterator[Tensor]:
        """States of each piece's keys: ``[batch, heads, nodes of the forest, size]`` → ``[batch, heads, keys, size]``.

        Projections are laid out node by node, and so are rows that are picked: a third of the time of picking by head.
        """
        if self.picked is not None:
            picked = states.transpose(1, 2).index_select(1, self.picked.to(states.device)).transpose(1, 2)
        at = 0
        for piece in self.pieces:
            if isinstance(piece.keys, slice):
                yield states[:, :, piece.keys]
            else:
                yield picked[:, :, at : at + len(piece.keys)]
                at += len(piece.keys)


def grouped(parts: Sequence[Piece], most: int, device: torch.device) -> list[Group]:
    """Pieces in groups that pick at most ``most`` keys each, or those of one piece."""
    groups: list[list[Piece]] = []
    room = 0
    for piece in parts:
        count = 0 if isinstance(piece.keys, slice) else len(piece.keys)
        if not groups or count > room:
            groups.append([])
            room = most
        groups[-1].append(piece)
        room -= count
    return [_group(group, device) for group in groups]


def _group(parts: Sequence[Piece], device: torch.device) -> Group:
    picked = [piece.keys for piece in parts if not isinstance(piece.keys, slice)]
    return Group(tuple(parts), torch.from_numpy(np.concatenate(picked)).to(device) if picked else None)


def cut(forest: Forest, window: int | None) -> list[tuple[int, int]]:
    """First node and stop of each piece. Short chains that follow one another share one where that costs less."""
    stops = [*forest.chains[1:].tolist(), len(forest.ids)]
    pieces: list[tuple[int, int, int]] = []
    for first, stop in zip(forest.chains.tolist(), stops, strict=True):
        above = len(forest.above(first))
        blocks = _blocks(first, stop) if above or (window is not None and stop - first > window) else [(first, stop)]
        for begin, end in blocks:
            pairs = (end - begin) * (above + end - first)
            if not above and begin == first:  # causal: half of the pairs are left out
                pairs //= 2
            if pieces:
                before, _, spent = pieces[-1]
                joint = (end - before) * (len(forest.above(before)) + end - before)
                if joint <= spent + pairs + _CALL:
                    pieces[-1] = before, end, joint
                    continue
            pieces.append((begin, end, pairs))
    return [(first, stop) for first, stop, _ in pieces]


def _blocks(first: int, stop: int) -> Iterator[tuple[int, int]]:
    for begin in range(first, stop, _BLOCK):
        yield begin, min(begin + _BLOCK, stop)


def pieces(forest: Forest, dtype: torch.dtype, device: torch.device, window: int | None) -> list[Piece]:
    """All pieces of a forest, in order.

    Args:
        forest: the trees.
        dtype: of the model.
        device: of the model.
        window: a token sees only those ancestors that are fewer than this many positions above it.
    """
    return [_piece(forest, first, stop, dtype, device, window) for first, stop in cut(forest, window)]


def _piece(
    forest: Forest, first: int, stop: int, dtype: torch.dtype, device: torch.device, window: int | None
) -> Piece:
    own = np.arange(first, stop)
    above = forest.above(first)
    if window is not None:
        above = above[forest.depth[above] > forest.depth[own].min() - window]
    keys = np.concatenate([above, own])
    allowed = (keys[None, :] <= own[:, None]) & (own[:, None] < forest.end[keys][None, :])
    if window is not None:
        allowed &= forest.depth[own][:, None] - forest.depth[keys][None, :] < window
    is_consecutive = keys[-1] - keys[0] + 1 == len(keys)
    within = slice(int(keys[0]), stop) if is_consecutive else keys
    if not len(above) and np.array_equal(allowed, np.tri(len(own), dtype=bool)):
        return Piece(first, stop, within, None)
    mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(torch.from_numpy(~allowed), torch.finfo(dtype).min)
    return Piece(first, stop, within, mask[None, None].to(device))
