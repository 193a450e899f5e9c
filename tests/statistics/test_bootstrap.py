"""Ratios of sums, and their intervals over groups."""

from __future__ import annotations

import numpy as np
import pytest

from asr_data.errors import InputError
from asr_data.statistics.bootstrap import GroupBootstrap, Measure


def measure(part: list[float], whole: list[float]) -> Measure:
    return Measure(np.array(part, dtype=float), np.array(whole, dtype=float))


def test_a_measure_is_a_ratio_of_sums() -> None:
    one = measure([1, 0, 2], [2, 0, 4])
    assert one.value() == 0.5
    assert one.value(np.array([True, True, False])) == 0.5
    assert one.items == 2
    assert measure([0], [0]).value() is None


def test_the_interval_of_two_groups_is_between_their_own_figures() -> None:
    # Of two groups a resample holds both (half of the time), or one of them twice (a quarter each).
    estimate = GroupBootstrap(["a", "a", "b"]).estimate(measure([1, 1, 0], [1, 1, 1]))
    assert (estimate.value, estimate.low, estimate.high, estimate.items) == (2 / 3, 0.0, 1.0, 3)


def test_it_matches_a_loop_that_copies_the_items_drawn() -> None:
    values = [0.0, 1.0, 0.5, 1.0, 0.25, 0.75, 0.0]
    groups = ["a", "a", "b", "c", "c", "c", "d"]
    estimate = GroupBootstrap(groups, resamples=500, seed=3).estimate(Measure.mean_of(values))
    means = []
    for counts in np.random.default_rng(3).multinomial(4, [0.25] * 4, 500):
        times = dict(zip("abcd", counts.tolist(), strict=True))
        drawn = [value for value, group in zip(values, groups, strict=True) for _ in range(times[group])]
        means.append(sum(drawn) / len(drawn))
    assert estimate.low == pytest.approx(np.percentile(means, 2.5))
    assert estimate.high == pytest.approx(np.percentile(means, 97.5))


def test_the_interval_of_independent_items_is_the_normal_one() -> None:
    # The mean of 400 values of variance 1/4 has a standard error of 1/40.
    estimate = GroupBootstrap(range(400), resamples=4000).estimate(Measure.mean_of([0.0, 1.0] * 200))
    assert estimate.low == pytest.approx(0.5 - 1.96 / 40, abs=0.004)
    assert estimate.high == pytest.approx(0.5 + 1.96 / 40, abs=0.004)


def test_items_of_one_group_do_not_narrow_the_interval() -> None:
    values = [0.0, 1.0] * 20
    single = GroupBootstrap(range(40)).estimate(Measure.mean_of(values))
    # Every item ten times over, in the same group: no new information.
    repeated = GroupBootstrap(np.repeat(range(40), 10).tolist()).estimate(Measure.mean_of(np.repeat(values, 10)))
    assert [repeated.low, repeated.high] == pytest.approx([single.low, single.high])


def test_blocks_of_draws_equal_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Measure.mean_of([0.1, 0.9, 0.4, 0.6])
    whole = GroupBootstrap([0, 1, 1, 2], seed=5).estimate(one)
    monkeypatch.setattr("asr_data.statistics.bootstrap._CELLS", 21)
    assert GroupBootstrap([0, 1, 1, 2], seed=5).estimate(one) == whole


def test_one_group_has_no_width() -> None:
    estimate = GroupBootstrap(["q", "q"]).estimate(Measure.mean_of([0.0, 1.0]))
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


def test_the_mean_of_known_values() -> None:
    one = Measure.mean_of([1.0, float("nan"), 0.0])
    assert (one.value(), one.items) == (0.5, 2)


def test_differences_are_paired() -> None:
    # Each response is better by exactly 0.25: however unequal the groups, the difference has no spread.
    draw = np.random.default_rng(2)
    values, whole = draw.random(50), np.ones(50)
    difference = GroupBootstrap([str(i) for i in range(50)]).difference(
        Measure(values + 0.25, whole), Measure(values, whole)
    )
    assert [difference.value, difference.low, difference.high] == pytest.approx([0.25, 0.25, 0.25])


def test_a_draw_without_items_does_not_enter() -> None:
    estimate = GroupBootstrap(["a", "b"]).estimate(measure([1, 0], [1, 0]))
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)
    nothing = GroupBootstrap(["a"]).estimate(measure([0], [0]))
    assert (nothing.value, nothing.low, nothing.high, nothing.items) == (None, None, None, 0)


def test_settings_out_of_range() -> None:
    with pytest.raises(InputError, match="0 items"):
        GroupBootstrap([])
    with pytest.raises(InputError, match="0 resamples"):
        GroupBootstrap(["a"], resamples=0)
    with pytest.raises(InputError, match="level 1"):
        GroupBootstrap(["a"], level=1.0)


def test_the_smallest_difference_that_could_have_been_shown() -> None:
    """Of the mean of n numbers the standard error is their standard deviation by √n."""
    draws = np.random.default_rng(5)
    noise = draws.normal(scale=0.5, size=400)
    level = draws.normal(size=400)
    found = GroupBootstrap(range(400), 4000).compare(Measure.mean_of(level + noise), Measure.mean_of(level))
    assert found.ahead.value == pytest.approx(noise.mean())
    assert found.least == pytest.approx(2.8016 * noise.std() / 20, rel=0.05)
    wide = GroupBootstrap(range(400), 4000, level=0.5).compare(Measure.mean_of(level + noise), Measure.mean_of(level))
    assert wide.least == pytest.approx((0.6745 + 0.8416) * noise.std() / 20, rel=0.05)


def test_one_group_shows_nothing() -> None:
    measure = Measure.mean_of([1.0, 2.0])
    assert GroupBootstrap(["a", "a"]).compare(measure, measure).least is None
