"""Expected values by hand, or from a definition written out in full."""

from __future__ import annotations

from statistics import mean, median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import InputError
from asr_data.statistics.ranking import (
    auroc,
    bootstrap_interval,
    mean_within_response_auroc,
    pair_accuracy,
    pair_wins,
    within_response_auroc,
)


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


def test_faulty_tokens_are_found_by_low_rewards() -> None:
    responses = [
        ([0.9, 0.1, 0.8], [False, True, False]),  # the lowest reward is the faulty token: 1
        ([0.1, 0.9, 0.5], [False, True, True]),  # both faulty tokens have higher rewards: 0
        ([0.5, 0.5], [True, False]),  # a tie: 0.5
        ([0.3, 0.4], [False, False]),  # nothing to find
    ]
    assert within_response_auroc(responses) == [1.0, 0.0, 0.5, None]
    assert mean_within_response_auroc(responses) == 0.5
    assert mean_within_response_auroc(responses[3:]) is None


def test_pairs_by_hand() -> None:
    assert pair_wins([1.0, 2.0, 3.0, 0.0], [0.0, 2.0, 4.0, -1.0]).tolist() == [1.0, 0.5, 0.0, 1.0]
    assert pair_accuracy([1.0, 2.0, 3.0, 0.0], [0.0, 2.0, 4.0, -1.0]) == 0.625
    assert pair_accuracy([], []) is None
    with pytest.raises(InputError, match="they are paired"):
        pair_wins([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="rejected rewards: item 0 is not finite"):
        pair_wins([1.0], [float("inf")])


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_bootstrap_matches_a_loop_that_copies_the_items_drawn(statistic: str) -> None:
    values = [0.0, 1.0, 0.5, 1.0, 0.25, 0.75, 0.0]
    groups = ["a", "a", "b", "c", "c", "c", "d"]
    names = ["a", "b", "c", "d"]
    drawn = np.random.default_rng(3).integers(0, 4, size=(500, 4))
    reduce = mean if statistic == "mean" else median
    statistics = [
        reduce([v for i in row for v, g in zip(values, groups, strict=True) if g == names[i]]) for row in drawn
    ]
    low, high = bootstrap_interval(values, groups, statistic, resamples=500, seed=3)  # type: ignore[arg-type]
    assert low == pytest.approx(np.percentile(statistics, 2.5))
    assert high == pytest.approx(np.percentile(statistics, 97.5))


def test_bootstrap_of_independent_items_is_the_normal_interval() -> None:
    # The mean of 400 values of variance 1/4 has a standard error of 1/40.
    values = [0.0, 1.0] * 200
    low, high = bootstrap_interval(values, range(400), resamples=4000, seed=0)
    assert low == pytest.approx(0.5 - 1.96 / 40, abs=0.004)
    assert high == pytest.approx(0.5 + 1.96 / 40, abs=0.004)


def test_items_of_one_group_do_not_narrow_the_interval() -> None:
    values = [0.0, 1.0] * 20
    single = bootstrap_interval(values, range(40), seed=0)
    # every item ten times over, under the same group: no new information
    repeated = bootstrap_interval(np.repeat(values, 10), np.repeat(range(40), 10).tolist(), seed=0)
    assert repeated == pytest.approx(single)


def test_bootstrap_in_blocks_equals_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ([0.1, 0.9, 0.4, 0.6], [0, 1, 1, 2])
    whole = bootstrap_interval(*arguments, seed=5)
    monkeypatch.setattr("asr_data.statistics.ranking._CELLS", 21)
    assert bootstrap_interval(*arguments, seed=5) == whole


def test_bootstrap_of_one_group_has_no_width() -> None:
    assert bootstrap_interval([0.0, 1.0], ["q", "q"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("values", "groups", "settings", "message"),
    [
        ([], [], {}, "0 values and 0 groups"),
        ([1.0], ["a", "b"], {}, "1 values and 2 groups"),
        ([1.0], ["a"], {"resamples": 0}, "resamples is 0"),
        ([1.0], ["a"], {"level": 1.0}, "level 1.0"),
        ([float("nan")], ["a"], {}, "not finite"),
    ],
)
def test_bootstrap_refuses(values: list[float], groups: list[str], settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bootstrap_interval(values, groups, **settings)  # type: ignore[arg-type]
