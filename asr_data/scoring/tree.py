"""Token trees: sequences that share a prefix are laid out so that each shared token is computed once.

Two answers to one prompt, the second of them read at two places where a turn could have ended:

    prompt ─┬─ answer A ── end
            └─ answer B, part 1 ─┬─ part 2 ── end
                                 └─ end

    node       0   1   2   3   4   5   6   7   8         in depth-first order, longest paths first
    token      p   p   A   A   e   B   B   e   e
    depth      0   1   2   3   4   2   3   4   3         position id
    end        9   9   5   5   5   9   8   8   9         one past the last descendant
    chain      0                   5           8         first nodes

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
        chains: int64 ``[chains]``, first node of each stretch of tokens that follow one another in a sequence; each
            goes on until the next begins.
        runs: for each member, int64 ``[runs, 2]``: first depth and first node of each stretch of its path that is
            consecutive in the tree.
    """

    ids: Int32
    depth: Int32
    end: Int32
    members: tuple[int, ...]
    chains: Int64
    runs: tuple[Int64, ...]

    def nodes(self, member: int, positions: Sequence[int]) -> Int64:
        """Nodes of the ``member``-th member's tokens at these positions of its sequence."""
        at = np.asarray(positions, dtype=np.int64)
        depth, node = self.runs[member].T
        run = np.searchsorted(depth, at, side="right") - 1
        return node[run] + at - depth[run]


Fits = Callable[[int, int, int], bool]
"""``(nodes so far, new nodes, tokens of the sequence)`` → whether a sequence should join the tree before it."""


def grow_trees(sequences: Sequence[Sequence[int]], fits: Fits) -> Iterator[Tree]:
    """Cut the sequences, in lexicographic order, into trees.

    Neighbours in that order share the longest prefixes. A sequence joins the tree of the one before it where
    ``fits`` says so. Where it does not, the tree is cut, in its second half, where the least is shared: so a limit
    does not part two answers to one prompt. The result depends on the sequences and ``fits`` alone.

    Args:
        sequences: token ids, each with at least one.
        fits: when to join.
    """
    arrays = [np.asarray(s, dtype=np.int32) for s in sequences]
    # Big-endian bytes compare as the ids do, and fast.
    order = sorted(range(len(arrays)), key=lambda i: (arrays[i].astype(">i4").tobytes(), i))
    lengths = [len(array) for array in arrays]
    open_: list[int] = []
    shared: list[int] = []  # of each with the one before it
    size = 0
    for i in order:
        common = _common(arrays[open_[-1]], arrays[i]) if open_ else 0
        while open_ and not fits(size, lengths[i] - common, lengths[i]):
            lost = [*shared, common]
            cut = min(range(len(open_) // 2 + 1, len(open_) + 1), key=lambda k: (lost[k], -k))
            yield _laid_out(arrays, open_[:cut], shared[:cut])
            open_, shared = open_[cut:], shared[cut:]
            size = sum(lengths[k] for k in open_) - sum(shared[1:])
            common = common if open_ else 0
        open_.append(i)
        shared.append(common)
        size += lengths[i] - common
    if open_:
        yield _laid_out(arrays, open_, shared)


def _common(one: Int32, other: Int32) -> int:
    """How many tokens two sequences begin with in common."""
    length = min(len(one), len(other))
    different = one[:length] != other[:length]
    return int(different.argmax()) if different.any() else length


def _laid_out(arrays: Sequence[Int32], members: Sequence[int], shared: Sequence[int]) -> Tree:
    growing = _GrowingTree()
    for place in longest_first([len(arrays[i]) for i in members], shared):
        growing.add(members[place], arrays[members[place]])
    return growing.finish()


def longest_first(lengths: Sequence[int], shared: Sequence[int]) -> list[int]:
    """Depth-first order of a tree's sequences in which the longest path of every subtree comes first.

    What is cut into branches, such as a response that is closed at every sentence, then stays in one piece.

    Args:
        lengths: of sequences in lexicographic order.
        shared: how many tokens each begins with in common with the one before it; the first is not looked at.
    """
    order: list[int] = []
    ranges = [(0, len(lengths))]
    while ranges:
        low, high = ranges.pop()
        longest = max(range(low, high), key=lengths.__getitem__)
        order.append(longest)
        after = _subtrees([(k, shared[k]) for k in range(longest + 1, high)])
        before = _subtrees([(k, shared[k + 1]) for k in range(longest - 1, low - 1, -1)])
        # What branches off last is next in depth-first order, and taken from the end.
        for _, part in sorted([*before, *after], key=lambda subtree: subtree[0]):
            ranges.append((min(part), max(part) + 1))
    return order


def _subtrees(neighbours: Sequence[tuple[int, int]]) -> list[tuple[int, list[int]]]:
    """Depths at which subtrees leave the longest path, and their sequences.

    Args:
        neighbours: sequences, away from the longest one, and what each shares with the one before.
    """
    subtrees: list[tuple[int, list[int]]] = []
    for sequence, common in neighbours:
        if subtrees and common > subtrees[-1][0]:
            subtrees[-1][1].append(sequence)
        else:
            subtrees.append((common, [sequence]))
    return subtrees


class _GrowingTree:
    """A tree to which sequences are added in depth-first order, the longer one of two that are alike first."""

    def __init__(self) -> None:
        self.size = 0
        self._members: list[int] = []
        self._last = np.zeros(0, dtype=np.int32)  # the sequence whose nodes the path has
        self._path = np.zeros(0, dtype=np.int64)  # its nodes, by depth
        self._chains: list[int] = []
        self._runs: list[Int64] = []
        self._ids: list[Int32] = []
        self._depth: list[Int32] = []
        self._ends: list[tuple[Int64, int]] = []

    def add(self, index: int, sequence: Int32) -> None:
        shared = _common(self._last, sequence)
        new = len(sequence) - shared
        if new:
            self._ends.append((self._path[shared:], self.size))  # what the path leaves has all its descendants
            self._path = np.concatenate([self._path[:shared], np.arange(self.size, self.size + new)])
            self._chains.append(self.size)
            self._ids.append(sequence[shared:])
            self._depth.append(np.arange(shared, len(sequence), dtype=np.int32))
            self._last = sequence
            self.size += new
        self._members.append(index)
        self._runs.append(_runs(self._path[: len(sequence)]))

    def finish(self) -> Tree:
        end = np.full(self.size, self.size, dtype=np.int32)
        for nodes, at in self._ends:
            end[nodes] = at
        return Tree(
            np.concatenate(self._ids),
            np.concatenate(self._depth),
            end,
            tuple(self._members),
            np.array(self._chains, dtype=np.int64),
            tuple(self._runs),
        )


def _runs(nodes: Int64) -> Int64:
    """First depth and first node of each stretch of consecutive nodes, int64 ``[runs, 2]``."""
    first = np.concatenate([[0], np.flatnonzero(np.diff(nodes) != 1) + 1])
    return np.stack([first, nodes[first]], axis=1).astype(np.int64)
