"""Expected values by hand, or from a definition written out in full."""

from __future__ import annotations

from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import InputError
from asr_data.statistics.ranking import auroc, auroc_by_group, pair_wins


def auroc_by_pairs(scores: list[float], positive: list[bool]) -> float | None:
    """Every positive against every negative: the definition itself."""
    wins = [
        1.0 if good > bad else 0.5 if good == bad else 0.0
        for good, is_good in zip(scores, positive, strict=True)
        if is_good
        for bad, is_bad in zip(scores, positive, strict=True)
        if not is_bad
    ]
    return mean(wins) if wins else None


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        # positives 0.35 and 0.8 against negatives 0.1 and 0.4: 3 of 4 pairs are right
        ([0.1, 0.4, 0.35, 0.8], [False, False, True, True], 0.75),
        ([1.0, 2.0], [False, True], 1.0),
        ([2.0, 1.0], [False, True], 0.0),
        ([5.0, 5.0, 5.0], [True, False, False], 0.5),
        # 2 beats 1 and ties with 2: (1 + 0.5) / 2
        ([1.0, 2.0, 2.0], [False, False, True], 0.75),
        ([1.0, 2.0], [True, True], None),
        ([1.0, 2.0], [False, False], None),
        ([], [], None),
    ],
)
def test_auroc_by_hand(scores: list[float], positive: list[bool], expected: float | None) -> None:
    assert auroc(scores, positive) == expected


@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), max_size=40))
def test_auroc_equals_the_count_over_all_pairs(items: list[tuple[int, bool]]) -> None:
    scores = [score / 4 for score, _ in items]
    positive = [label for _, label in items]
    assert auroc(scores, positive) == pytest.approx(auroc_by_pairs(scores, positive), abs=1e-12)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), min_size=2, max_size=40))
def test_auroc_of_negated_scores_is_the_complement(items: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in items])
    positive = [label for _, label in items]
    forward, backward = auroc(scores, positive), auroc(-scores, positive)
    assert (forward is None) == (backward is None)
    if forward is not None and backward is not None:
        assert forward + backward == pytest.approx(1.0)


def test_auroc_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(InputError, match="item 1 is not finite"):
        auroc([0.0, float("nan")], [True, False])
    with pytest.raises(InputError, match="one label per score"):
        auroc([0.0, 1.0], [True])
    with pytest.raises(InputError, match=r"shape \(1, 2\)"):
        auroc([[0.0, 1.0]], [[True, False]])


def test_each_group_is_ranked_on_its_own() -> None:
    scores = np.array([0.9, 0.1, 5.0, 0.9, 6.0, 0.5, 0.5, 0.4])
    positive = np.array([True, False, True, True, False, True, False, False])
    group = np.array([0, 0, 1, 1, 1, 3, 3, 3])
    # Group 1: 5 and 0.9 against 6; group 2 has no items; group 3: 0.5 ties with 0.5 and beats 0.4.
    found = auroc_by_group(scores, positive, group, 4)
    np.testing.assert_array_equal(found, [1.0, 0.0, np.nan, 0.75])


def test_pairs_by_hand() -> None:
    assert pair_wins([1.0, 2.0, 3.0, 0.0], [0.0, 2.0, 4.0, -1.0]).tolist() == [1.0, 0.5, 0.0, 1.0]
    assert pair_wins([], []).size == 0
    with pytest.raises(InputError, match="they are paired"):
        pair_wins([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="rejected rewards: item 0 is not finite"):
        pair_wins([1.0], [float("inf")])
