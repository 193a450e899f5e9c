from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.text.common_subsequence import common_subsequence


def sequence(items: Any) -> Any:
    return np.array(list(items), dtype=np.int64)


def length_by_table(first: list[int], second: list[int]) -> int:
    """The textbook's table, one cell at a time."""
    row = [0] * (len(second) + 1)
    for item in first:
        before = row
        row = [0]
        for column, other in enumerate(second):
            row.append(before[column] + 1 if item == other else max(before[column + 1], row[column]))
    return row[-1]


@pytest.mark.parametrize("symbols", [1, 2, 4, 40])
@settings(deadline=None)  # the first call compiles
@given(data=st.data())
def test_it_is_common_and_longest(symbols: int, data: st.DataObject) -> None:
    """Up to 150 items, so that sums are carried over two words' ends."""
    lists = st.lists(st.integers(0, symbols - 1), max_size=150)
    first, second = data.draw(lists), data.draw(lists)
    in_first, in_second = common_subsequence(sequence(first), sequence(second))
    common = sequence(first)[in_first].tolist()
    assert common == sequence(second)[in_second].tolist()
    assert len(common) == length_by_table(first, second)


def test_long_sequences_with_rare_and_frequent_items() -> None:
    """One item of 200 columns, more often than there are words of 64, beside items that come up once."""
    generator = np.random.default_rng(3)
    first = np.where(generator.random(700) < 0.4, 0, generator.permutation(700)).astype(np.int64)
    second = np.where(generator.random(500) < 0.4, 0, generator.permutation(500)).astype(np.int64)
    in_first, in_second = common_subsequence(first, second)
    assert first[in_first].tolist() == second[in_second].tolist()
    assert in_first.sum() == length_by_table(first.tolist(), second.tolist())


def test_runs_stay_whole() -> None:
    """Of ``a .`` and ``a . b .`` either full stop could be taken: the one after its word is, on both sides."""
    a, b, stop = 0, 1, 2
    for first, second, wanted in (
        ([a, stop, 9], [a, stop, b, stop], [True, True, False, False]),
        ([b, a], [a, 9, b, a], [False, False, True, True]),
    ):
        assert common_subsequence(sequence(first), sequence(second))[1].tolist() == wanted
        assert common_subsequence(sequence(second), sequence(first))[0].tolist() == wanted


def test_nothing_in_common() -> None:
    for first, second in (([], []), ([], [1]), ([1, 1], [2])):
        found = common_subsequence(sequence(first), sequence(second))
        assert [flags.tolist() for flags in found] == [[False] * len(first), [False] * len(second)]
