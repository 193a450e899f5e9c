"""Plans against the rule: everything once, within the budget, longest first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import ConfigError
from asr_data.scoring.packing import joins, plan_batches, plan_padded

LENGTHS = st.lists(st.integers(1, 40), max_size=30)


@pytest.mark.parametrize(
    ("size", "new", "length", "joined"),
    [
        (100, 50, 90, True),
        (100, 85, 90, False),  # shares five tokens
        (100, 0, 5, True),  # has no token of its own
        (160, 41, 90, False),  # the tree would be too large
        (250, 0, 250, True),  # longer than the limit, and the same again
    ],
)
def test_who_joins(size: int, new: int, length: int, joined: bool) -> None:
    assert joins(200)(size, new, length) is joined


def test_without_a_limit() -> None:
    assert joins()(10**6, 50, 90)


def test_batches_by_hand() -> None:
    assert plan_batches([3, 9, 5, 2, 1, 12], 10) == [[5], [1, 4], [2, 0, 3]]


def test_padded_batches_by_hand() -> None:
    # 12 alone; 9 alone, as two would be 18; 5 and 3 padded to 10; 2 and 1 padded to 4
    assert plan_padded([3, 9, 5, 2, 1, 12], 10) == [[5], [1], [2, 0], [3, 4]]


@given(LENGTHS, st.integers(1, 100))
def test_everything_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    for plan, size in ((plan_batches, sum), (plan_padded, lambda x: len(x) * max(x))):
        batches = plan(lengths, budget)
        assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
        for batch in batches:
            assert size([lengths[i] for i in batch]) <= budget or len(batch) == 1
            assert [lengths[i] for i in batch] == sorted((lengths[i] for i in batch), reverse=True)


@pytest.mark.parametrize("plan", [plan_batches, plan_padded])
def test_no_budget(plan: object) -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        plan([1], 0)  # type: ignore[operator] # one of the two
