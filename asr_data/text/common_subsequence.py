"""The longest common subsequence of two sequences, bit-parallel and in linear memory.

The lengths of one row of the usual table are held as bits, 64 columns to a word (Hyyrö, "Bit-parallel LCS-length
computation revisited", 2004); the items themselves are found by halving (Hirschberg 1975). For sequences of n and m
items that takes about ``n·m / 32`` word operations and memory of order ``n + m``: two texts of 100,000 different
words take seconds, not hours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr_data.compiled import compiled
from asr_data.types import Bool, Int32, Int64


def common_subsequence(first: Int64, second: Int64) -> tuple[Bool, Bool]:
    """Which items of two sequences are of one longest common subsequence.

    Where several are longest, it is the same one every time. An item that could as well stand next to the item before
    or after it, in both sequences, does: a run of equal items is not torn apart for a full stop further on.

    Args:
        first: int64 ``[n]``, from 0.
        second: int64 ``[m]``, from 0.

    Returns:
        bool ``[n]`` and bool ``[m]``, as many true in one as in the other.
    """
    in_first, in_second = np.zeros(first.size, dtype=np.bool_), np.zeros(second.size, dtype=np.bool_)
    if first.size and second.size:
        symbols = 1 + max(int(first.max()), int(second.max()))
        _mark_common(first, second, np.full(symbols, -1, dtype=np.int64), in_first, in_second)
        places = np.flatnonzero(in_first), np.flatnonzero(in_second)
        _close_gaps(first, second, *places)
        for flags, place in zip((in_first, in_second), places, strict=True):
            flags[:] = False
            flags[place] = True
    return in_first, in_second


@compiled(nogil=True)
def _close_gaps(first: Int64, second: Int64, in_first: Int64, in_second: Int64) -> None:
    """Move items of the subsequence, given by their places, next to the item before them, or else after them."""
    count = in_first.size
    for step in (1, -1):
        for index in range(count):
            own = index if step == 1 else count - 1 - index
            near, far = own - step, own + step
            if not 0 <= near < count:
                continue
            p, q, near_p, near_q = in_first[own], in_second[own], in_first[near] + step, in_second[near] + step
            if 0 <= far < count and in_first[far] == p + step and in_second[far] == q + step:
                continue
            if p == near_p and q != near_q and second[near_q] == first[p]:
                in_second[own] = near_q
            elif q == near_q and p != near_p and first[near_p] == second[q]:
                in_first[own] = near_p


@compiled(nogil=True)
def _mark_common(first: Int64, second: Int64, latest: Int64, in_first: Bool, in_second: Bool) -> None:
    """Hirschberg's halving, with a stack of the parts ``first[a:b]``, ``second[c:d]`` that are still to do."""
    stack = [(0, first.size, 0, second.size)]
    while len(stack):
        a, b, c, d = stack.pop()
        while a < b and c < d and first[a] == second[c]:
            in_first[a] = in_second[c] = True
            a, c = a + 1, c + 1
        while a < b and c < d and first[b - 1] == second[d - 1]:
            b, d = b - 1, d - 1
            in_first[b] = in_second[d] = True
        if a == b or c == d:
            continue
        if b - a == 1:
            for place in range(c, d):
                if second[place] == first[a]:
                    in_first[a] = in_second[place] = True
                    break
            continue
        middle = (a + b) // 2
        before = _lengths(first, a, middle - a, second, c, d - c, 1, latest)
        after = _lengths(first, b - 1, b - middle, second, d - 1, d - c, -1, latest)
        best = 0
        for cut in range(1, d - c + 1):
            if before[cut] + after[d - c - cut] > before[best] + after[d - c - best]:
                best = cut
        stack.append((a, middle, c, c + best))
        stack.append((middle, b, c + best, d))


@compiled(nogil=True)
def _lengths(
    first: Int64, at: int, rows: int, second: Int64, begin: int, columns: int, step: int, latest: Int64
) -> Int32:
    """Lengths of the longest common subsequences of ``rows`` items and each beginning of ``columns`` items.

    Items are read from ``at`` and ``begin`` on, forwards or backwards by ``step``. Bit j of ``state`` is 0 where the
    length grows with column j. ``latest`` has room for every symbol and is -1 everywhere, before and after.

    Returns:
        int32 ``[columns + 1]``.
    """
    words = (columns + 63) // 64
    previous = np.empty(columns, dtype=np.int64)  # the column before that has the same symbol
    count = np.zeros(columns, dtype=np.int64)  # how often the symbol of this column came up to here
    for column in range(columns):
        symbol = second[begin + step * column]
        previous[column] = latest[symbol]
        count[column] = 1 if latest[symbol] < 0 else count[latest[symbol]] + 1
        latest[symbol] = column
    # Symbols of more than ``words`` columns, of which there are at most 64, get their bits once and for all.
    held, place = _frequent(second, begin, columns, step, latest, previous, count, words)
    scratch = np.zeros(words, dtype=np.uint64)
    state = np.full(words, ~np.uint64(0), dtype=np.uint64)
    for row in range(rows):
        last = latest[first[at + step * row]]
        if last < 0:
            continue
        if place[last] >= 0:
            _advance(state, held[place[last]])
            continue
        column = last
        while column >= 0:
            scratch[column >> 6] |= np.uint64(1) << np.uint64(column & 63)
            column = previous[column]
        _advance(state, scratch)
        column = last
        while column >= 0:
            scratch[column >> 6] = np.uint64(0)
            column = previous[column]
    lengths = np.zeros(columns + 1, dtype=np.int32)
    for column in range(columns):
        grows = not (state[column >> 6] >> np.uint64(column & 63)) & np.uint64(1)
        lengths[column + 1] = lengths[column] + grows
        latest[second[begin + step * column]] = -1
    return lengths


@compiled(nogil=True)
def _frequent(
    second: Int64,
    begin: int,
    columns: int,
    step: int,
    latest: Int64,
    previous: Int64,
    count: Int64,
    words: int,
) -> tuple[NDArray[np.uint64], Int32]:
    """The bits of the frequent symbols, uint64 ``[symbols, words]``, and at a symbol's last column which row is its."""
    place = np.full(columns, -1, dtype=np.int32)
    found = 0
    for column in range(columns):
        if latest[second[begin + step * column]] == column and count[column] > words:
            place[column] = found
            found += 1
    held = np.zeros((found, words), dtype=np.uint64)
    for last in range(columns):
        if place[last] >= 0:
            column = last
            while column >= 0:
                held[place[last], column >> 6] |= np.uint64(1) << np.uint64(column & 63)
                column = previous[column]
    return held, place


@compiled(nogil=True)
def _advance(state: NDArray[np.uint64], matches: NDArray[np.uint64]) -> None:
    """One row: ``V = (V + (V & M)) | (V & ~M)``, the sum carried from word to word."""
    carry = np.uint64(0)
    for word in range(state.size):
        old, match = state[word], matches[word]
        total = old + (old & match)
        overflow = np.uint64(total < old)
        total += carry
        overflow |= np.uint64(total < carry)
        state[word] = total | (old & ~match)
        carry = overflow
