from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.errors import RowRejected
from asr_data.text.project import check_rewards, initial_value, project
from asr_data.types import ByteRewards, Float64, Int32, RewardForm

NONE = np.zeros(0, dtype=np.int32)


def rewards(ends: list[int], values: list[float], steps: list[int] | None = None) -> ByteRewards:
    return ByteRewards(
        np.array(ends, dtype=np.int32), np.array(values, dtype=np.float32), np.array(steps or [], dtype=np.int32)
    )


def ints(*values: int) -> Int32:
    return np.array(values, dtype=np.int32)


def per_byte(given_rewards: ByteRewards, form: RewardForm) -> list[float]:
    """The naive reading: a value for each byte, an equal share of an increment for each byte."""
    out: list[float] = []
    start = 0
    for end, reward in zip(given_rewards.span_end.tolist(), given_rewards.span_reward.tolist(), strict=True):
        width = end - start
        out += [reward if form == "value" else reward / max(width, 1)] * width
        start = end
    return out


def naive(given_rewards: ByteRewards, start: Int32, end: Int32, form: RewardForm) -> Float64:
    by_byte = per_byte(given_rewards, form)
    out: list[float | None] = []
    for a, b in zip(start.tolist(), end.tolist(), strict=True):
        known = [x for x in by_byte[a:b] if x == x]
        mean = sum(known) / max(len(known), 1) if form == "value" else sum(known)
        out.append(None if a == b else mean if known else float("nan"))
    first = next(x for x in out if x is not None)
    source = first
    for t, x in enumerate(out):
        if x is None:
            out[t] = 0.0 if form == "increment" and source == source else source
        else:
            source = x
    return np.array(out, dtype=np.float64)


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[int]:
    inner = draw(st.sets(st.integers(1, length - 1), max_size=length - 1)) if length > 1 else set()
    return [*sorted(inner), length]


@st.composite
def cases(draw: st.DrawFn, unknown: bool = False) -> tuple[ByteRewards, Int32, Int32]:
    length = draw(st.integers(1, 25))
    span_end = draw(cuts(length))
    reward = st.floats(-9, 9, width=32) | st.just(float("nan")) if unknown else st.floats(-9, 9, width=32)
    values = draw(st.lists(reward, min_size=len(span_end), max_size=len(span_end)))
    if draw(st.booleans()):  # the value at the end of the prompt
        span_end, values = [0, *span_end], [draw(st.floats(-9, 9, width=32)), *values]
    token_end = draw(cuts(length))
    empty = draw(st.lists(st.integers(0, len(token_end)), max_size=3))  # tokens of the template
    edges = [0, *token_end]
    tokens = sorted([*zip(edges, token_end, strict=False), *((edges[i], edges[i]) for i in empty)])
    start, end = zip(*tokens, strict=True)
    return rewards(span_end, values), ints(*start), ints(*end)


@given(case=cases(), form=st.sampled_from(["value", "increment"]))
@settings(max_examples=300, deadline=None)
def test_equals_the_reading_byte_by_byte(case: tuple[ByteRewards, Int32, Int32], form: RewardForm) -> None:
    np.testing.assert_allclose(project(*case, form), naive(*case, form), rtol=1e-5, atol=1e-5)


@given(case=cases(unknown=True), form=st.sampled_from(["value", "increment"]))
@settings(max_examples=300, deadline=None)
def test_unknown_bytes_are_left_out(case: tuple[ByteRewards, Int32, Int32], form: RewardForm) -> None:
    np.testing.assert_allclose(project(*case, form), naive(*case, form), rtol=1e-5, atol=1e-5)


@given(case=cases(), constant=st.floats(-9, 9, width=32))
@settings(deadline=None)
def test_a_constant_value_stays_that_constant(case: tuple[ByteRewards, Int32, Int32], constant: float) -> None:
    given_rewards, start, end = case
    same = ByteRewards(given_rewards.span_end, np.full_like(given_rewards.span_reward, constant), NONE)
    np.testing.assert_array_equal(project(same, start, end, "value"), np.float32(constant))


@given(case=cases())
@settings(deadline=None)
def test_increments_keep_their_sum(case: tuple[ByteRewards, Int32, Int32]) -> None:
    given_rewards, start, end = case
    response = given_rewards.span_reward[given_rewards.span_end > 0]  # what the prompt added is not the response's
    assert project(given_rewards, start, end, "increment").sum() == pytest.approx(response.sum(), abs=1e-4)


def test_by_hand() -> None:
    # Bytes: span rewards 1 1 1 4 4; tokens cover [0,2), [2,4), nothing (an end-of-turn), [4,5).
    got = project(rewards([3, 5], [1.0, 4.0]), ints(0, 2, 4, 4), ints(2, 4, 4, 5), "value")
    assert got.tolist() == [1.0, 2.5, 2.5, 4.0]
    # Increments 3 over three bytes and 4 over two.
    got = project(rewards([3, 5], [3.0, 4.0]), ints(0, 2, 4, 4), ints(2, 4, 4, 5), "increment")
    assert got.tolist() == [2.0, 3.0, 0.0, 2.0]


def test_leading_template_tokens_take_the_value_after_them() -> None:
    assert project(rewards([2], [7.0]), ints(0, 0), ints(0, 2), "value").tolist() == [7.0, 7.0]


def test_value_at_the_end_of_the_prompt() -> None:
    assert initial_value(rewards([0, 4], [0.5, 1.0])) == 0.5
    assert np.isnan(initial_value(rewards([4], [1.0])))
    assert project(rewards([0, 4], [0.5, 1.0]), ints(0), ints(4), "value").tolist() == [1.0]


def test_unknown_by_hand() -> None:
    # Bytes: 1 1 ? ? ? 4, tokens [0,3), [3,5), [5,6), and the end of turn.
    nan = float("nan")
    partly = rewards([2, 5, 6], [1.0, nan, 4.0])
    tokens = ints(0, 3, 5, 6), ints(3, 5, 6, 6)
    np.testing.assert_array_equal(project(partly, *tokens, "value"), [1.0, nan, 4.0, 4.0])
    # Increments: 1 over two bytes, both in the first token.
    np.testing.assert_array_equal(project(partly, *tokens, "increment"), [1.0, nan, 4.0, 0.0])
    # Where the last text is unknown, so is the end of turn; the template's first token takes from what follows it.
    late = rewards([2, 6], [nan, 4.0])
    edges = ints(0, 0, 2, 6), ints(0, 2, 6, 6)
    np.testing.assert_array_equal(project(late, *edges, "value"), [nan, nan, 4.0, 4.0])
    np.testing.assert_array_equal(project(late, *edges, "increment"), [nan, nan, 4.0, 0.0])
    none = rewards([6], [nan])
    for form in ("value", "increment"):
        np.testing.assert_array_equal(project(none, *edges, form), [nan] * 4)


def test_nothing_covered() -> None:
    with pytest.raises(RowRejected) as caught:
        project(rewards([2], [7.0]), ints(0, 0), ints(0, 0), "value")
    assert caught.value.code == "tokens_uncovered"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (rewards([3, 5], [1.0]), "wrong_reward_length"),
        (rewards([], []), "wrong_reward_length"),
        (rewards([3, 4], [1.0, 2.0]), "wrong_reward_length"),
        (rewards([3, 3, 5], [1.0, 2.0, 3.0]), "wrong_reward_length"),
        (rewards([-1, 5], [1.0, 2.0]), "wrong_reward_length"),
        (rewards([5], [1.0], [6]), "wrong_reward_length"),
        (rewards([5], [1.0], [3, 3]), "wrong_reward_length"),
        (rewards([5], [float("nan")]), "non_finite_reward"),
        (rewards([3, 5], [0.0, float("inf")]), "non_finite_reward"),
        (ByteRewards(ints(5), np.ones(1, np.float32), NONE, float("nan")), "non_finite_reward"),
    ],
)
def test_rewards_that_do_not_fit(wrong: ByteRewards, code: str) -> None:
    with pytest.raises(RowRejected) as caught:
        check_rewards(wrong, 5)
    assert caught.value.code == code


def test_only_a_partial_scorer_may_leave_rewards_unknown() -> None:
    check_rewards(rewards([3, 5], [float("nan"), 1.0]), 5, partial=True)
    for wrong in (rewards([5], [float("inf")]), ByteRewards(ints(5), np.ones(1, np.float32), NONE, float("nan"))):
        with pytest.raises(RowRejected, match="NaN or infinite"):
            check_rewards(wrong, 5, partial=True)


def test_rewards_that_fit() -> None:
    check_rewards(rewards([0, 3, 5], [0.0, 1.0, 2.0], [3, 5]), 5)
