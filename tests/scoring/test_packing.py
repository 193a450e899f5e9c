"""Plans are worked out by hand; what any plan must keep is tested over random lengths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import ConfigError
from asr_data.scoring.packing import Cost, plan_rows


def test_the_cost_of_a_row() -> None:
    assert Cost(even=100).of(100) == 200
    assert Cost(even=100).of(10) == 11


@pytest.mark.parametrize(
    ("size", "new", "length", "joins"),
    [
        (100, 50, 100, True),  # 150 + 225 = 375 joined, 2 × 200 = 400 apart
        (100, 60, 100, False),  # 160 + 256 = 416
        (100, 100, 100, False),  # nothing is shared: the row only gets longer
        (0, 500, 500, True),  # longer than the limit, and alone
        (200, 1, 201, True),  # over the limit of 200, but not over its own length; it goes on from the one before
    ],
)
def test_who_joins(size: int, new: int, length: int, joins: bool) -> None:
    assert Cost(even=100).joins(200)(size, new, length) is joins


def test_a_tree_stays_within_the_limit() -> None:
    assert not Cost(even=1e9).joins(200)(150, 51, 151)
    assert Cost(even=1e9).joins(200)(150, 50, 151)


@pytest.mark.parametrize(
    ("lengths", "budget", "plan"),
    [
        ([5, 3, 3], 10, [[[0], [1]], [[2]]]),
        ([1000, 300, 300, 200], 4096, [[[0], [1, 2, 3]]]),  # two rows in place of four
        ([9, 5, 4, 4], 18, [[[0], [1, 2]], [[3]]]),
        ([30000, 10, 10], 4096, [[[0]], [[1], [2]]]),  # over the budget: alone
        ([2, 7, 7], 7, [[[1]], [[2]], [[0]]]),
        ([], 7, []),
    ],
)
def test_plans(lengths: list[int], budget: int, plan: list[list[list[int]]]) -> None:
    assert plan_rows(lengths, budget) == plan


def test_without_packing_a_row_holds_one_item() -> None:
    assert plan_rows([1000, 300, 300], 4096, pack=False) == [[[0], [1], [2]]]


def test_a_budget_of_nothing() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        plan_rows([1], 0)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200), st.booleans())
def test_any_plan(lengths: list[int], budget: int, pack: bool) -> None:
    batches = plan_rows(lengths, budget, pack=pack)
    assert sorted(i for batch in batches for row in batch for i in row) == list(range(len(lengths)))
    for batch in batches:
        sizes = [sum(lengths[i] for i in row) for row in batch]
        assert len(sizes) * max(sizes) <= budget or len(sizes) == 1
        assert pack or all(len(row) == 1 for row in batch)
        # The first row is as long as its longest item: packing never makes a batch wider.
        assert max(sizes) == max(lengths[i] for row in batch for i in row)
