from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.errors import ConfigError, InputError
from asr_data.segments import Fixed, Optimal, Pivot, Schmitt, Sequence, SplitContext, Step, Token, split
from asr_data.segments.smoothing import smoothed

rows_of_rewards = st.lists(st.lists(st.integers(-8, 8).map(lambda n: n / 4), max_size=12), min_size=1, max_size=6)


def flat(rows):
    values = np.array([value for row in rows for value in row], dtype=np.float32)
    return values, np.cumsum([0, *(len(row) for row in rows)])


SEGMENTERS = [
    Pivot(),
    Pivot(tau=0.5),
    Schmitt(),
    Schmitt(delta=0.5),
    Schmitt(smooth=0.2, down=2),
    Optimal(),
    Optimal(penalty=0.3),
    Step(),
    Fixed(length=3),
    Token(),
    Sequence(),
]


def context(values):
    kinds = (np.arange(values.size) % 5).astype(np.int8)
    return SplitContext(baseline=0.1, boundary=kinds, step_start=values > 1)


@settings(max_examples=80, deadline=None)
@given(rows_of_rewards)
def test_segments_partition_every_row(rows):
    values, offsets = flat(rows)
    firsts = {int(a) for a, b in itertools.pairwise(offsets) if a < b}
    for segmenter in SEGMENTERS:
        starts = split(values, offsets, segmenter, context(values))
        assert starts.dtype == np.int64
        assert (np.diff(starts) > 0).all()
        assert firsts <= set(starts.tolist())
        assert all(0 <= start < values.size for start in starts.tolist())


@settings(max_examples=40, deadline=None)
@given(rows_of_rewards)
def test_a_row_does_not_see_its_neighbours(rows):
    values, offsets = flat(rows)
    for segmenter in (
        Pivot(tau=0.5),
        Schmitt(delta=0.5),
        Optimal(penalty=0.3),
        Token(),
        Sequence(),
    ):
        together = split(values, offsets, segmenter)
        apart = [
            split(np.array(row, dtype=np.float32), [0, len(row)], segmenter) + offset
            for row, offset in zip(rows, offsets, strict=False)
        ]
        assert together.tolist() == np.concatenate(apart).tolist()


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        ([0.0, float("nan"), 1.0], [0, 1, 3], "row 1, token 0: the reward is nan"),
        ([0.0, 1e300], [0, 0, 2], "row 1, token 1: the reward is 1e\\+300"),
        ([[0.0]], [0, 1], "values must be a flat array"),
        (["a"], [0, 1], "values must be a flat array"),
        ([0.0], [0, 2], "end with the number of values, 1"),
        ([0.0], [1, 1], "begin with 0"),
        ([0.0, 1.0, 2.0], [0, 2, 1, 3], "row 1 runs from 2 to 1"),
        ([0.0], [], "row_offsets must be a flat array"),
        ([0.0], [0.0, 1.0], "row_offsets must be a flat array"),
    ],
)
def test_wrong_input(values, offsets, message):
    with pytest.raises(InputError, match=message):
        split(values, offsets, Token())


def test_pivot_by_hand():
    values = [0.0, 0.5, 0.5, -0.5, 3.0, 3.0, 4.0]
    # The second row's first token starts a segment; the jump across rows (−0.5 to 3) does not count.
    assert split(values, [0, 4, 7], Pivot(tau=0.5)).tolist() == [0, 3, 4, 6]
    assert split(values, [0, 4, 7], Pivot(tau=1.0)).tolist() == [0, 4]


def test_pivot_auto_by_hand():
    # Differences 1, −1, 1, −1, 9: median 1, deviations 0, 2, 0, 2, 8, their median 2.
    # tau = 0.5 · √2 · (1.4826 · 2 / √2) = 1.4826; only the jump of 9 is above it.
    values = [0.0, 1.0, 0.0, 1.0, 0.0, 9.0]
    assert split(values, [0, 6], Pivot(k=0.5)).tolist() == [0, 5]
    assert split(values, [0, 6], Pivot(k=0.3)).tolist() == [0, 1, 2, 3, 4, 5]  # tau = 0.89
    assert split(values, [0, 6], Pivot(k=1.0), SplitContext(sigma=7.0)).tolist() == [0]  # tau = 9.9


def slow_schmitt(row, baseline, delta):
    states = []
    for reward in row:
        state = states[-1] if states else None
        if reward > baseline + delta:
            state = "good"
        elif reward < baseline - delta:
            state = "bad"
        states.append(state)
    decided = next((state for state in states if state), None)
    states = [state or decided for state in states]
    return [t for t, state in enumerate(states) if t == 0 or state != states[t - 1]]


@settings(max_examples=100, deadline=None)
@given(rows_of_rewards, st.integers(0, 6), st.integers(-4, 4))
def test_schmitt_equals_the_slow_one(rows, delta, baseline):
    values, offsets = flat(rows)
    expected = [
        int(offset) + start
        for row, offset in zip(rows, offsets, strict=False)
        for start in slow_schmitt(row, baseline / 4, delta / 4)
    ]
    found = split(values, offsets, Schmitt(delta=delta / 4), SplitContext(baseline=baseline / 4))
    assert found.tolist() == expected


def test_schmitt_by_hand():
    #         neutral, good, neutral, on the edge (neutral), bad, neutral, good
    values = [0.1, 0.6, 0.2, -0.5, -0.75, 0.0, 0.75]
    assert split(values, [0, 7], Schmitt(delta=0.5)).tolist() == [0, 4, 6]
    assert split(values, [0, 3, 7], Schmitt(delta=2.0)).tolist() == [0, 3]
    baseline = SplitContext(np.array([0.0, 0.25]))  # the second row: −0.5 and −0.75 bad, 0.0 neutral at 0.3, 0.75 good
    assert split(values, [0, 3, 7], Schmitt(delta=0.3), baseline).tolist() == [0, 3, 6]


def test_schmitt_with_another_threshold_down():
    #         good, above b − 0.4, below it, neutral, good
    values = [0.3, -0.3, -0.5, 0.1, 0.3]
    assert split(values, [0, 5], Schmitt(delta=0.2, down=2.0)).tolist() == [0, 2, 4]
    assert split(values, [0, 5], Schmitt(delta=0.2)).tolist() == [0, 1, 4]
    assert split(values, [0, 5], Schmitt(delta=0.2, down=0.0)).tolist() == [0, 1, 4]
    assert split(values, [0, 5], Schmitt(delta=0.2, down=3.0)).tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(rows_of_rewards, st.sampled_from([0.01, 0.3, 5.0]))
def test_smoothed_levels_are_the_least_penalised_squares(rows, ratio):
    values, offsets = flat(rows)
    found = smoothed(values, offsets, ratio)
    for begin, end in itertools.pairwise(offsets.tolist()):
        steps = np.diff(np.eye(end - begin), axis=0)
        expected = np.linalg.solve(np.eye(end - begin) + steps.T @ steps / ratio, values[begin:end])
        np.testing.assert_allclose(found[begin:end], expected, atol=1e-6)


def test_smooth_cuts_the_levels_by_hand():
    # With ratio 1/2 of (0, 1): (1 + 2) a − 2 b = 0 and −2 a + 3 b = 1: levels 0.4 and 0.6.
    assert smoothed(np.array([0, 1], dtype=np.float32), np.array([0, 2]), 0.5) == pytest.approx([0.4, 0.6])
    assert split([0.0, 1.0], [0, 2], Pivot(tau=0.15, smooth=0.5)).tolist() == [0, 1]
    assert split([0.0, 1.0], [0, 2], Pivot(tau=0.25, smooth=0.5)).tolist() == [0]
    # σ is that of the rewards as they are, 1.4826 / √2 and not a fifth of it: τ = 0.15 and 0.30.
    assert split([0.0, 1.0], [0, 2], Pivot(k=0.1, smooth=0.5)).tolist() == [0, 1]
    assert split([0.0, 1.0], [0, 2], Pivot(k=0.2, smooth=0.5)).tolist() == [0]


def test_settings_that_are_not_used_are_not_in_the_dump():
    for segmenter, names in ((Pivot(), ["kind", "tau", "k"]), (Schmitt(), ["kind", "delta", "k"])):
        assert list(segmenter.model_dump(mode="json")) == names
    assert Schmitt(down=2, smooth=0.1).model_dump().items() >= {("down", 2.0), ("smooth", 0.1)}
    assert Schmitt.model_validate(Schmitt(down=2, smooth=0.1).model_dump()) == Schmitt(down=2, smooth=0.1)


def test_schmitt_auto_is_sigma():
    values = [0.0, 1.0, -1.0, 1.0]
    assert split(values, [0, 4], Schmitt(), SplitContext(sigma=0.99)).tolist() == [0, 2, 3]
    assert split(values, [0, 4], Schmitt(), SplitContext(sigma=1.0)).tolist() == [0]


def test_fixed_by_hand():
    # Rows of 5, 0, 1 and 2 tokens: each begins anew.
    assert split(np.arange(8), [0, 5, 5, 6, 8], Fixed(length=2)).tolist() == [0, 2, 4, 5, 6]
    assert split(np.arange(8), [0, 5, 5, 6, 8], Fixed()).tolist() == [0, 5, 6]
    for wrong in (0, 1.5, "long"):
        with pytest.raises(ConfigError, match=r"Fixed\.length is .*: expected a whole number >= 1"):
            Fixed(length=wrong)


def test_step_token_sequence():
    values, offsets = [1.0, 2.0, 3.0, 4.0], [0, 0, 3, 4]
    assert split(values, offsets, Step(), SplitContext(step_start=np.array([False, False, True, False]))).tolist() == [
        0,
        2,
        3,
    ]
    assert split(values, offsets, Token()).tolist() == [0, 1, 2, 3]
    assert split(values, offsets, Sequence()).tolist() == [0, 3]


@pytest.mark.parametrize(
    ("segmenter", "settings_", "message"),
    [
        (Pivot, {"tau": -1.0}, 'Pivot.tau is -1.0: expected a finite number >= 0 or "auto"'),
        (Pivot, {"tau": "often"}, "Pivot.tau is 'often': expected a finite number >= 0 or \"auto\""),
        (Pivot, {"k": 0.0}, "Pivot.k is 0.0: expected a finite number > 0"),
        (Pivot, {"delta": 1}, "Pivot.delta is not a setting; allowed are smooth, kind, tau, k"),
        (Schmitt, {"delta": float("inf")}, "Schmitt.delta is inf"),
        (Schmitt, {"delta": np.ones(2)}, "Schmitt.delta is array"),
        (Optimal, {"penalty": "aic"}, 'Optimal.penalty is \'aic\': expected a finite number >= 0, "paper" or "bic"'),
        (Optimal, {"penalty": float("nan")}, "Optimal.penalty is nan"),
        (Optimal, {"boundary": {"word": 0}}, "Optimal.boundary.word is 0: expected a finite number > 0"),
    ],
)
def test_wrong_settings(segmenter, settings_, message):
    with pytest.raises(ConfigError) as raised:
        segmenter(**settings_)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("segmenter", "known", "message"),
    [
        (Schmitt(), SplitContext(baseline=float("nan")), "baseline: must be finite, got nan"),
        (Schmitt(), SplitContext(sigma=-1.0), "sigma: must be finite and at least 0"),
        (Optimal(), SplitContext(sigma=np.ones(3)), "sigma must be one number or one per row"),
        (Optimal(penalty=1.0), SplitContext(boundary=np.zeros(3, dtype=np.int8)), "boundary must have shape"),
        (Step(), SplitContext(), "step_start must be bool of shape \\(2,\\), got nothing"),
        (Step(), SplitContext(step_start=np.array([True])), "step_start must be bool"),
        (Step(), SplitContext(step_start=np.array([0, 1])), "step_start must be bool"),
    ],
)
def test_a_context_that_does_not_fit(segmenter, known, message):
    with pytest.raises(ConfigError, match=message):
        split([0.0, 1.0], [0, 2], segmenter, known)


def test_no_rows_and_no_tokens():
    nothing = np.empty(0, dtype=np.float32)
    for segmenter in SEGMENTERS:
        assert split(nothing, [0], segmenter, context(nothing)).size == 0
        assert split(nothing, [0, 0, 0], segmenter, context(nothing)).size == 0
