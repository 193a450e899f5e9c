"""Ratios of sums, and their intervals over groups."""

from __future__ import annotations

import numpy as np
import pytest

from asr_data.errors import InputError
from asr_data.statistics.bootstrap import GroupBootstrap, Measure
from asr_data.statistics.ranking import bootstrap_interval


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


def test_the_interval_agrees_with_the_plain_bootstrap_of_a_mean() -> None:
    draw = np.random.default_rng(1)
    values, groups = draw.normal(size=400), [str(i // 2) for i in range(400)]
    estimate = GroupBootstrap(groups, resamples=4000).estimate(Measure(values, np.ones(400)))
    low, high = bootstrap_interval(values, groups, resamples=4000)
    assert estimate.low == pytest.approx(low, abs=0.01)
    assert estimate.high == pytest.approx(high, abs=0.01)


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
    with pytest.raises(InputError, match="0 responses"):
        GroupBootstrap([])
    with pytest.raises(InputError, match="level 1"):
        GroupBootstrap(["a"], level=1.0)
