"""Token trees: sequences that share a prefix are laid out so that each shared token is computed once.

Two answers to one prompt, the second of them read at two places where a turn could have ended:

    prompt ─┬─ answer A ── end
            └─ answer B, part 1 ─┬─ part 2 ── end
                                 └─ end

    node       0   1   2   3   4   5   6   7   8         in depth-first order
    token      p   p   A   A   e   B   B   e   e
    depth      0   1   2   3   4   2   3   4   3         position id
    end        9   9   5   5   5   9   8   8   9         one past the last descendant

A token attends to its ancestors and itself, and nothing else. In depth-first order, node j is an ancestor of i, or i
itself, exactly where ``j <= i < end[j]``. The rule holds for several trees side by side in one row, too.

This module knows only token ids, not scorers or models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asr_data.types import Int32, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Some sequences as one tree (or several, where they share no first token).

    Attributes:
        ids: int32 ``[nodes]``, tokens in depth-first order.
        depth: int32 ``[nodes]``, each token's position in its sequences.
        end: int32 ``[nodes]``, one past the last descendant.
        members: which sequences it holds, in depth-first order.
        runs: for each member, int64 ``[runs, 2]``: first depth and first node of each stretch of its path that is
            consecutive in the tree.
    """

    ids: Int32
    depth: Int32
    end: Int32
    members: tuple[int, ...]
    runs: tuple[Int64, ...]

    def nodes(self, member: int, positions: Sequence[int]) -> Int64:
        """Nodes of the ``member``-th member's tokens at these positions of its sequence."""
        at = np.asarray(positions, dtype=np.int64)
        depth, node = self.runs[member].T
        run = np.searchsorted(depth, at, side="right") - 1
        return node[run] + at - depth[run]

    @property
    def is_chain(self) -> bool:
        """Whether it holds one path, which plain causal attention serves."""
        return bool(len(self.end)) and int(self.end.min()) == len(self.end)


Fits = Callable[[int, int, int], bool]
"""``(nodes so far, new nodes, tokens of the sequence)`` → whether a sequence should join the tree before it."""


def grow_trees(sequences: Sequence[Sequence[int]], fits: Fits) -> Iterator[Tree]:
    """Cut the sequences, in lexicographic order, into trees.

    Neighbours in that order share the longest prefixes. A sequence joins the tree of the one before it where
    ``fits`` says so, and begins a new tree otherwise. The result depends on the sequences and ``fits`` alone.

    Args:
        sequences: token ids, each with at least one.
        fits: when to join.
    """
    arrays = [np.asarray(s, dtype=np.int32) for s in sequences]
    # Big-endian bytes compare as the ids do, and fast.
    order = sorted(range(len(arrays)), key=lambda i: (arrays[i].astype(">i4").tobytes(), i))
    growing = _GrowingTree()
    for i in order:
        shared = growing.shared_with(arrays[i])
        length = len(arrays[i])
        if growing.members and not fits(growing.size, length - shared, length):
            yield growing.finish()
            growing, shared = _GrowingTree(), 0
        growing.add(i, arrays[i], shared)
    if growing.members:
        yield growing.finish()


class _GrowingTree:
    """A tree to which sequences are added in lexicographic order."""

    def __init__(self) -> None:
        self.members: list[int] = []
        self.size = 0
        self._last = np.zeros(0, dtype=np.int32)
        self._path = np.zeros(0, dtype=np.int64)  # nodes of the last sequence, by depth
        self._runs: list[list[tuple[int, int]]] = []
        self._ids: list[Int32] = []
        self._depth: list[Int32] = []
        self._ends: list[tuple[Int64, int]] = []

    def shared_with(self, sequence: Int32) -> int:
        length = min(len(sequence), len(self._last))
        different = self._last[:length] != sequence[:length]
        return int(different.argmax()) if different.any() else length

    def add(self, index: int, sequence: Int32, shared: int) -> None:
        new = len(sequence) - shared
        if new:
            self._ends.append((self._path[shared:], self.size))  # what the path leaves has all its descendants
            self._path = np.concatenate([self._path[:shared], np.arange(self.size, self.size + new)])
            self._ids.append(sequence[shared:])
            self._depth.append(np.arange(shared, len(sequence), dtype=np.int32))
        runs = [run for run in (self._runs[-1] if self._runs else []) if run[0] < shared]
        self._runs.append([*runs, (shared, self.size)] if new else runs)
        self.members.append(index)
        self._last = sequence
        self.size += new

    def finish(self) -> Tree:
        end = np.full(self.size, self.size, dtype=np.int32)
        for nodes, at in self._ends:
            end[nodes] = at
        return Tree(
            np.concatenate(self._ids),
            np.concatenate(self._depth),
            end,
            tuple(self.members),
            tuple(np.array(runs, dtype=np.int64) for runs in self._runs),
        )
