from __future__ import annotations

import itertools

import numpy as np
import pytest
import ruptures
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.errors import ConfigError
from asr_data.segments import BoundaryWeights, Optimal, SplitContext, split
from asr_data.segments.optimal import optimal_starts


def cut(values, penalty, weights):
    """The starts of one row, at any weights."""
    row = np.asarray(values, dtype=np.float32)
    return optimal_starts(row, np.array([0, row.size]), np.array([penalty]), weights).tolist()


def steps_and_noise(rng, length, jump=2.0):
    levels = rng.normal(0, jump, length // 25 + 1)
    return (np.repeat(levels, 25)[:length] + rng.normal(0, 1, length)).astype(np.float32)


def cost(values, starts, penalty, weights):
    """Eq. 14 written out, the first start at cost c²."""
    edges = [*starts, len(values)]
    error = sum(float(((values[a:b] - values[a:b].mean()) ** 2).sum()) for a, b in itertools.pairwise(edges))
    return error + penalty * (1 + sum(weights[s] for s in starts[1:]))


def brute_force(values, penalty, weights):
    values = values.astype(np.float64)
    places = range(1, len(values))
    return min(
        cost(values, (0, *cuts), penalty, weights)
        for size in range(len(values))
        for cuts in itertools.combinations(places, size)
    )


def test_by_hand():
    # The mean of
    # all four is 2 and their squared error 16: a second segment pays while c² < 16.
    values = [0.0, 0.0, 4.0, 4.0]
    assert split(values, [0, 4], Optimal(penalty=15.9)).tolist() == [0, 2]
    assert split(values, [0, 4], Optimal(penalty=16.1)).tolist() == [0]


def test_a_tie_goes_to_fewer_segments():
    assert split([0.0, 0.0, 4.0, 4.0], [0, 4], Optimal(penalty=16.0)).tolist() == [0]


def test_boundary_weights_move_the_cut():
    values = [0.0, 0.0, 0.0, 4.0, 4.0, 4.0]
    weights = np.array([1, 1, 1, 20, 1, 1.0])
    # With c² = 1 and the first start aside: no cut costs 24. At 3: error 0 plus 20. At 2 or at 4: the other
    # side is one and three values, error 12, plus 1. At 2 and 4: the 0 and 4 between have error 8, plus 2.
    assert cut(values, 1.0, weights) == [0, 2, 4]
    assert split(values, [0, 6], Optimal(penalty=1.0)).tolist() == [0, 3]


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 10), st.integers(0, 2**32 - 1), st.booleans())
def test_equals_all_partitions(length, seed, integers):
    rng = np.random.default_rng(seed)
    values = (rng.integers(-3, 4, length) if integers else rng.normal(0, 2, length)).astype(np.float32)
    penalty = float(rng.choice([0.0, 0.25, 1.0, 4.0]))
    weights = rng.choice([0.1, 0.5, 1.0, 3.0, 50.0], length)
    found = cut(values, penalty, weights)
    reached = cost(values.astype(np.float64), found, penalty, weights)
    assert reached == pytest.approx(brute_force(values, penalty, weights), rel=1e-12, abs=1e-12)


def quadratic(values, penalty, weights):
    """Optimal partitioning without any pruning."""
    values = values.astype(np.float64)
    square, total = np.r_[0, np.cumsum(values**2)], np.r_[0, np.cumsum(values)]
    before = [penalty]
    for t in range(1, len(values) + 1):
        s = np.arange(t)
        error = square[t] - square[s] - (total[t] - total[s]) ** 2 / (t - s)
        best = float((np.array(before) + error).min())
        if t == len(values):
            return best
        before.append(best + penalty * weights[t])
    raise AssertionError


@pytest.mark.parametrize("seed", range(60))
def test_pruning_loses_nothing(seed):
    rng = np.random.default_rng(seed)
    values = steps_and_noise(rng, int(rng.integers(100, 400)), jump=float(rng.choice([0.0, 1.0, 4.0])))
    penalty = float(rng.uniform(0.1, 15))
    weights = rng.choice([0.02, 1.0, 10.0, 50.0], values.size)
    found = cut(values, penalty, weights)
    reached = cost(values.astype(np.float64), found, penalty, weights)
    assert reached == pytest.approx(quadratic(values, penalty, weights), rel=1e-10)


def test_breakpoints_are_those_of_ruptures():
    rng = np.random.default_rng(7)
    signals = [steps_and_noise(rng, int(rng.integers(2, 300)), jump=rng.uniform(0, 5)) for _ in range(1000)]
    penalties = rng.uniform(0.5, 20, 1000)
    for signal, penalty in zip(signals, penalties.tolist(), strict=True):
        model = ruptures.KernelCPD(kernel="linear", min_size=1).fit(signal.astype(np.float64)[:, None])
        expected = [0, *model.predict(pen=penalty)[:-1]]
        assert split(signal, [0, signal.size], Optimal(penalty=penalty)).tolist() == expected


def test_without_penalty_every_change_is_a_start():
    values = [0.7, 0.7, 0.7, 0.2, 0.2, 0.7, 0.1]
    assert split(values, [0, 7], Optimal(penalty=0.0)).tolist() == [0, 3, 5, 6]


@pytest.mark.parametrize("level", [0.0, 0.7, 1e6])
def test_a_constant_row_is_one_segment(level):
    assert split(np.full(3000, level), [0, 3000], Optimal(penalty=0.5)).tolist() == [0]


def test_penalty_names():
    values, offsets = np.array([0.0, 2.0, 0.0], dtype=np.float32), [0, 2, 3]
    # The first row as one segment has error 2. paper: c² = σ². bic: c² = 2 σ² ln 2 = 1.386 σ².
    assert split(values, offsets, Optimal(penalty="paper"), SplitContext(sigma=1.41)).tolist() == [0, 1, 2]
    assert split(values, offsets, Optimal(penalty="paper"), SplitContext(sigma=1.42)).tolist() == [0, 2]
    assert split(values, offsets, Optimal(penalty="bic"), SplitContext(sigma=1.20)).tolist() == [0, 1, 2]
    assert split(values, offsets, Optimal(penalty="bic"), SplitContext(sigma=1.21)).tolist() == [0, 2]
    per_row = SplitContext(sigma=np.array([1.42, 0.0]))
    assert split(values, offsets, Optimal(penalty="paper"), per_row).tolist() == [0, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-8, 8), st.integers(-64, 64))
def test_scale_and_shift(seed, exponent, shift):
    rng = np.random.default_rng(seed)
    values = np.round(steps_and_noise(rng, 120) * 64) / 64  # multiples of 1/64: shifting them is exact
    scale = 2.0**exponent
    plain = split(values, [0, 120], Optimal(penalty=5.0))
    moved = split((values + shift) * scale, [0, 120], Optimal(penalty=5.0 * scale**2))
    assert np.array_equal(plain, moved)


def test_boundary_weights_by_hand():
    weights = BoundaryWeights(inside_word=50, word=40, clause=30, sentence=2, line=1)
    found = weights.of(np.array([0, 1, 2, 3, 4, 0], dtype=np.int8))
    assert found.tolist() == [50.0, 40.0, 30.0, 2.0, 1.0, 50.0]


def test_boundary_factors_are_by_what_starts_at_the_token():
    kinds = SplitContext(boundary=np.array([4, 0, 3], dtype=np.int8))
    # One segment has error 32/3 and price 2; [0], [4, 0] and [0, 4], [0] have error 8; three segments have none.
    values = [0.0, 4.0, 0.0]
    assert split(values, [0, 3], Optimal(penalty=2.0, boundary=None), kinds).tolist() == [0, 1, 2]  # 6
    # The second token is inside a word: three segments cost 2 + 10 + 2, one 12.7, and a cut before the third 12.
    assert split(values, [0, 3], Optimal(penalty=2.0, boundary={"inside_word": 5}), kinds).tolist() == [0, 2]
    # Where the text is not known, a cut costs c² everywhere.
    assert split(values, [0, 3], Optimal(penalty=2.0, boundary={"inside_word": 5})).tolist() == [0, 1, 2]


@pytest.mark.parametrize("weights", [np.ones(3), np.array([1.0, -1.0]), np.array([1.0, np.inf])])
def test_wrong_weights(weights):
    with pytest.raises(ConfigError, match="boundary"):
        cut([0.0, 1.0], 1.0, weights)
