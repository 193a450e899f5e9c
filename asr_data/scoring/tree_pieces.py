"""Attention in token trees, cut into pieces: some consecutive nodes, and the nodes that they attend to.

A tree's nodes attend to their ancestors and themselves. A chain that begins a tree attends to itself alone: one fused
causal pass without a mask. A chain that hangs on others attends to what is above it and to itself: a pass over these
keys alone, with a mask of that size. So no work goes into pairs of branches, and no mask is as large as a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from asr_data.scoring.tree import Tree
from asr_data.types import Int64

_CALL = 4096
"""Pairs of query and key whose attention takes as long as one more call does."""
_BLOCK = 256
"""Nodes of a chain with ancestors that are computed at once: a longer piece computes more of what its mask hides."""
_STRETCHES = 8
"""More stretches of keys than these are faster picked one by one."""
_ALIGNED = 32
"""Numbers of keys that the CPU's kernels in half precision like: others take 1.5 to 2 times as long, and each first
number takes milliseconds and memory for good, for a kernel that is made for it."""


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
        keys: what they attend to: stretches of nodes, or where these are many, int64 ``[keys]``.
        mask: ``[1, 1, nodes, keys + blank]``, added to the scores; None where every node attends to those up to itself.
        blank: keys of zeros behind the others, which no node attends to.
    """

    first: int
    stop: int
    keys: tuple[slice, ...] | Tensor
    mask: Tensor | None
    blank: int = 0

    def pick(self, states: Tensor) -> Tensor:
        """States ``[batch, heads, nodes of the forest, size]`` of the keys: ``[batch, heads, keys + blank, size]``."""
        if isinstance(self.keys, Tensor):
            parts = [states.index_select(2, self.keys.to(states.device))]
        else:
            parts = [states[:, :, stretch] for stretch in self.keys]
        if self.blank:
            parts.append(states.new_zeros(*states.shape[:2], self.blank, states.shape[3]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def aligned(self) -> Piece:
        """The same piece with as many keys as kernels on a CPU like."""
        if isinstance(self.keys, Tensor):
            keys = len(self.keys)
        else:
            keys = sum(stretch.stop - stretch.start for stretch in self.keys)
        blank = -keys % _ALIGNED
        if self.mask is not None:
            return replace(self, blank=blank, mask=pad(self.mask, (0, blank), value=torch.finfo(self.mask.dtype).min))
        return replace(self, blank=blank if self.stop - self.first > 1 else 0)  # one node is not run as causal


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
    breaks = np.flatnonzero(np.diff(keys) != 1) + 1
    within: tuple[slice, ...] | Tensor = tuple(slice(int(run[0]), int(run[-1]) + 1) for run in np.split(keys, breaks))
    if len(breaks) >= _STRETCHES:
        within = torch.from_numpy(keys).to(device)
    if not len(above) and np.array_equal(allowed, np.tri(len(own), dtype=bool)):
        return Piece(first, stop, within, None)
    mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(torch.from_numpy(~allowed), torch.finfo(dtype).min)
    return Piece(first, stop, within, mask[None, None].to(device))
