from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import ConfigError
from asr_data.scoring.batches import plan_batches


def test_longest_first_by_padded_tokens() -> None:
    # 2 × 5 fits 10, a third would make 15; 3 × 3 fits, a fourth would make 12.
    assert plan_batches([3, 5, 1, 5, 3], 10) == [[1, 3], [0, 4, 2]]


def test_ties_keep_their_order() -> None:
    assert plan_batches([2, 2, 2, 2], 4) == [[0, 1], [2, 3]]


def test_too_long_for_the_budget_goes_alone() -> None:
    assert plan_batches([9, 1, 1], 4) == [[0], [1, 2]]


def test_nothing() -> None:
    assert plan_batches([], 4) == []


def test_no_budget() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        plan_batches([1], 0)


@given(lengths=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 120))
def test_each_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)
