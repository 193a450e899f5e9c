"""The trend of rewards along a response, by hand: a token is spread over the parts that it overlaps."""

from __future__ import annotations

import numpy as np
import pytest

from asr_data.errors import ConfigError
from asr_data.segments.rewards import round_bfloat16
from asr_data.segments.trend import BINS, TrendEstimate, detrended, recorded_trend, trend_statistics
from asr_data.types import Float32, Float64, Int64

NAN = float("nan")


def estimated(*responses: list[float], text: list[bool] | None = None) -> Float64:
    estimate = TrendEstimate()
    values = np.array([reward for one in responses for reward in one], dtype=np.float32)
    offsets = np.cumsum([0, *map(len, responses)]).astype(np.int64)
    estimate.add(values, offsets, np.ones(values.size, dtype=np.bool_) if text is None else np.array(text))
    return estimate.curve()


def by_quadrature(responses: list[Float32]) -> Float64:
    """Each response as a step function, read at 40 · n · BINS points: the mean by part over all tokens' points."""
    sums, weights = np.zeros(BINS), np.zeros(BINS)
    for rewards in responses:
        points = 40 * rewards.size * BINS
        at = (np.arange(points) + 0.5) / points
        value = rewards[(at * rewards.size).astype(int)]
        part = (at * BINS).astype(int)
        known = ~np.isnan(value)
        sums += np.bincount(part[known], weights=value[known], minlength=BINS) / points * rewards.size
        weights += np.bincount(part[known], minlength=BINS) / points * rewards.size
    return sums / weights


def test_by_hand() -> None:
    """Two tokens are half of the response each. Of three, the middle one has parts 6⅔ to 13⅓."""
    assert estimated([1, 3]).tolist() == [1] * 10 + [3] * 10
    found = estimated([0, 6, 0])
    np.testing.assert_allclose(found, [0] * 6 + [6 / 3] + [6] * 6 + [6 / 3] + [0] * 6)


def test_against_points_on_the_step_functions() -> None:
    draw = np.random.default_rng(0)
    responses = [draw.normal(size=n).astype(np.float32) for n in (1, 2, 7, 20, 33, 90)]
    responses[4][5:9] = NAN
    found = estimated(*[one.tolist() for one in responses])
    np.testing.assert_allclose(found, by_quadrature(responses), rtol=1e-6, atol=1e-9)


def test_what_one_response_has_more_than_another_is_no_trend() -> None:
    """One token, two, and fifty: every part has the same mean of all tokens."""
    found = estimated([5.0], [1.0, 1.0], [2.0] * 50)
    np.testing.assert_allclose(found, (5 + 2 + 100) / 53)


def test_tokens_without_text_and_unknown_ones_do_not_count() -> None:
    assert estimated([1, 3, 99], text=[True, True, False]).tolist() == [1] * 10 + [3] * 10
    # The third quarter is unknown: nothing is known of parts 10 to 14, which lie between 2 and 4.
    found = estimated([2, 2, NAN, 4])
    np.testing.assert_allclose(found, [2] * 10 + [2 + k / 3 for k in range(1, 6)] + [4] * 5)


def test_batches_of_any_size_give_the_same() -> None:
    draw = np.random.default_rng(1)
    lengths = draw.integers(1, 40, 50)
    offsets: Int64 = np.cumsum([0, *lengths])
    values = draw.normal(size=offsets[-1]).astype(np.float32)
    whole, parts = TrendEstimate(), TrendEstimate()
    everywhere = np.ones(values.size, dtype=np.bool_)
    whole.add(values, offsets, everywhere)
    for row in range(50):
        part = slice(offsets[row], offsets[row + 1])
        parts.add(values[part], offsets[row : row + 2] - offsets[row], everywhere[part])
    assert whole.curve().tolist() == parts.curve().tolist()


@pytest.mark.parametrize("responses", [[[1.0], [2.0]], [[NAN, 3.0], [NAN]], [[NAN, NAN]], []])
def test_where_there_is_none(responses: list[list[float]]) -> None:
    with pytest.raises(ConfigError, match="no response has two tokens with a known reward"):
        estimated(*responses)


def test_rewards_without_their_trend() -> None:
    """The trend k at the centre of part k: a token at ``(k + ½) / n`` of the response has ``20 (k + ½) / n − ½``."""
    trend = np.arange(BINS, dtype=np.float64)
    values = np.zeros(5, dtype=np.float32)
    text = np.array([True, True, True, True, False])
    found = detrended(values, np.array([0, 5]), text, trend)
    assert found.tolist() == [-2.0, -7.0, -12.0, -17.0, -17.0]
    # Forty tokens: the first stands before the centre of the first part, the last after that of the last one.
    found = detrended(np.zeros(40, dtype=np.float32), np.array([0, 40]), np.ones(40, dtype=np.bool_), trend)
    assert found[[0, 1, 2, 38, 39]].tolist() == [0.0, -0.25, -0.75, -18.75, -19.0]
    assert np.isnan(detrended(np.array([NAN], dtype=np.float32), np.array([0, 1]), np.array([True]), trend))[0]


def test_rewards_are_rounded_as_the_columns_are() -> None:
    values = np.array([1.0, 1.0], dtype=np.float32)
    found = detrended(values, np.array([0, 2]), np.array([True, True]), np.full(BINS, 0.001))
    assert found.tolist() == round_bfloat16(np.full(2, 0.999, dtype=np.float32)).tolist()


def test_a_straight_trend_is_taken_away_whole() -> None:
    """Responses of 200 tokens that fall from 1 to 0: what is left is bent only in the outer halves of the end parts."""
    fall = (1 - (np.arange(200) + 0.5) / 200).astype(np.float32)
    trend = estimated(fall.tolist(), fall.tolist())
    left = detrended(fall, np.array([0, 200]), np.ones(200, dtype=np.bool_), trend)
    assert np.abs(left[5:195]).max() < 1e-6
    assert np.abs(left).max() <= 0.025


def test_the_manifest_s_statistics() -> None:
    trend = np.linspace(1, 0, BINS)
    recorded = trend_statistics(trend)
    assert list(recorded)[:2] == ["trend_01", "trend_02"]
    assert len(recorded) == BINS
    again = recorded_trend({"sigma": 1.0, **recorded})
    assert again is not None
    assert again.tolist() == trend.tolist()
    assert trend_statistics(None) == {}
    assert recorded_trend({"sigma": 1.0}) is None
