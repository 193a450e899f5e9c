from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asr_data.config import MaskConfig
from asr_data.errors import ConfigError
from asr_data.masks import (
    Responses,
    TokenBatch,
    keep_segments,
    needs_statistics,
    segment_and_mask,
    span_rewards,
    token_rewards,
)
from asr_data.segments.statistics import RewardStatistics


def batch_of(*rows, preferred, ends=True, group=None):
    """A batch of rows of rewards; the last token of each is its end-of-turn token."""
    lengths = [len(row) for row in rows]
    offsets = np.cumsum([0, *lengths])
    size = int(offsets[-1])
    end = np.zeros(size, dtype=np.bool_)
    if ends:
        end[offsets[1:] - 1] = True
    nothing = np.full(len(rows), np.nan, dtype=np.float32)
    return TokenBatch(
        values=np.concatenate(rows).astype(np.float32),
        row_offsets=offsets,
        written=np.ones(size, dtype=np.bool_),
        end=end,
        preferred=np.array(preferred),
        group=np.zeros(len(rows), dtype=np.int64) if group is None else np.array(group),
        boundary=np.zeros(size, dtype=np.int8),
        step_start=np.zeros(size, dtype=np.bool_),
        initial=nothing,
        scorer_reward=nothing,
    )


def config(segmenter=None, baseline=0.0, **more):
    return MaskConfig.model_validate(
        {
            "segmenter": segmenter or {"kind": "schmitt", "delta": 0.25},
            "baseline": {"kind": "fixed", "value": baseline} if isinstance(baseline, float) else baseline,
            **more,
        }
    )


PAIR = batch_of([1, 1, -1, -1, 1], [1, -1, -1, 1, 1], preferred=[True, False])


def test_eq_8_by_hand():
    masked, running = segment_and_mask(PAIR, config())
    assert masked.segment_start.tolist() == [0, 2, 4, 0, 1, 3]
    assert masked.segment_start.dtype == np.int32
    assert masked.segment_offsets.tolist() == [0, 3, 6]
    assert masked.segment_reward.tolist() == [1, -1, 1, 1, -1, 1]
    assert masked.segment_keep.tolist() == [True, False, True, False, True, False]
    # The rejected side's end token is in a segment that is not kept; end_token "keep" keeps it.
    assert masked.mask.tolist() == [True, True, False, False, True, False, True, True, False, True]
    assert masked.reward.tolist() == pytest.approx([0.2, 0.2])
    assert masked.empty.tolist() == [False, False]
    assert running is None


def test_a_segment_on_the_baseline_is_for_the_rejected():
    row = np.zeros(2, dtype=np.int64)
    rewards = np.array([0.5, 0.75], dtype=np.float32)
    baseline = np.array([0.5])
    assert keep_segments(rewards, row, baseline, np.array([True])).tolist() == [False, True]
    assert keep_segments(rewards, row, baseline, np.array([False])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("end_token", "last"), [("keep", [True, True]), ("mask", [False, False]), ("segment", [True, False])]
)
def test_end_tokens(end_token, last):
    masked, _ = segment_and_mask(PAIR, config(end_token=end_token))
    assert masked.mask[[4, 9]].tolist() == last
    assert masked.mask[[0, 1, 2, 3, 5, 6, 7, 8]].tolist() == [
        True,
        True,
        False,
        False,
        False,
        True,
        True,
        False,
    ]


EMPTY = batch_of([-2, -2, -1, -3], [3, 1, 1, 2], preferred=[True, False])
PIVOT = {"kind": "pivot", "tau": 0.5}


@pytest.mark.parametrize(
    ("on_empty", "keep", "mask"),
    [
        ("keep-all", [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]),
        # The best for chosen is −1. For rejected it is the 1s; the end tokens stay by end_token.
        ("keep-best", [0, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1, 1, 1]),
        ("drop", [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 1]),
    ],
)
def test_on_empty(on_empty, keep, mask):
    masked, _ = segment_and_mask(EMPTY, config(PIVOT, on_empty=on_empty))
    assert masked.segment_start.tolist() == [0, 2, 3, 0, 1, 3]
    assert masked.segment_keep.tolist() == [bool(bit) for bit in keep]
    assert masked.mask.tolist() == [bool(bit) for bit in mask]
    assert masked.empty.tolist() == [True, True]


def test_keep_all_and_masked_end_tokens():
    masked, _ = segment_and_mask(EMPTY, config(PIVOT, end_token="mask"))  # noqa: S106
    assert masked.mask.tolist() == [True, True, True, False] * 2


def test_keep_best_takes_the_first_of_equals():
    batch = batch_of([-1, -2, -1, -9], preferred=[True])
    masked, _ = segment_and_mask(batch, config(PIVOT, on_empty="keep-best", end_token="segment"))  # noqa: S106
    assert masked.mask.tolist() == [True, False, False, False]


@pytest.mark.parametrize(("on_empty", "mask"), [("keep-all", [1, 1, 1]), ("keep-best", [0, 1, 1])])
def test_an_end_token_alone_is_empty(on_empty, mask):
    # Only the end token's segment is above 0: there is nothing to train on but it.
    batch = batch_of([-2, -1, 5], preferred=[True])
    masked, _ = segment_and_mask(batch, config(PIVOT, on_empty=on_empty))
    assert masked.empty.tolist() == [True]
    assert masked.mask.tolist() == [bool(bit) for bit in mask]


def test_what_others_wrote_is_never_trained_on():
    written = np.array([True, False, True, True, True] + [True] * 5)
    masked, _ = segment_and_mask(replace(PAIR, written=written), config())
    assert masked.mask[:5].tolist() == [True, False, False, False, True]
    nobody = replace(EMPTY, written=np.zeros(8, dtype=np.bool_), end=np.zeros(8, dtype=np.bool_))
    masked, _ = segment_and_mask(nobody, config(PIVOT))
    assert not masked.mask.any()
    assert masked.empty.all()


REWARDS = np.array([1.0, 3.0, 5.0], dtype=np.float32)
GROUP = np.array([4, 4, 9])


def statistics_of(rewards):
    statistics = RewardStatistics()
    statistics.add(np.zeros(3, dtype=np.float32), np.arange(4), np.array(rewards, dtype=np.float32))
    return statistics


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"kind": "fixed", "value": 0.3}, [0.3, 0.3, 0.3]),
        ({"kind": "sequence"}, [1.0, 3.0, 5.0]),
        ({"kind": "pair"}, [2.0, 2.0, 5.0]),
        ({"kind": "dataset", "statistic": "mean"}, [4.0, 4.0, 4.0]),
        ({"kind": "dataset", "statistic": "median"}, [3.0, 3.0, 3.0]),
        ({"kind": "dataset", "statistic": 1.0}, [8.0, 8.0, 8.0]),
        ({"kind": "running", "decay": 0.75}, [2.0, 2.0, 2.0]),
    ],
)
def test_baselines(setting, expected):
    found, running = config(baseline=setting).baseline.values(Responses(REWARDS, GROUP, statistics_of([1, 3, 8])))
    assert found.tolist() == expected
    # The first row: 0.75 · 2 + 0.25 · 2 = 2. The second: 0.75 · 2 + 0.25 · 5.
    assert running == (2.75 if setting["kind"] == "running" else None)


def test_the_running_baseline_goes_on():
    setting = config(baseline={"kind": "running", "decay": 0.5}).baseline
    whole, after = setting.values(Responses(REWARDS, GROUP))
    first, between = setting.values(Responses(REWARDS[:2], GROUP[:2]))
    second, end = setting.values(Responses(REWARDS[2:], GROUP[2:], running=between))
    assert whole.tolist() == [*first.tolist(), *second.tolist()] == [2.0, 2.0, 2.0]
    assert after == end == 3.5


def test_the_schmitt_trigger_is_around_the_baseline():
    masked, _ = segment_and_mask(PAIR, config(baseline={"kind": "pair"}, segmenter={"kind": "schmitt", "delta": 1}))
    # b = 0.2, so 1 is neutral and −1 bad: each response is one bad segment of reward 0.2.
    assert masked.segment_offsets.tolist() == [0, 1, 2]


def test_delta_and_scorer_rewards():
    initial = np.array([0.5, 2.0], dtype=np.float32)
    score = np.array([7.0, -7.0], dtype=np.float32)
    batch = replace(PAIR, initial=initial, scorer_reward=score)
    masked, _ = segment_and_mask(batch, config(reward="delta", sequence_reward="scorer"))
    assert masked.token_reward.tolist() == [0.5, 0, -2, 0, 2, -1, -2, 0, 2, 0]
    assert masked.reward.tolist() == [7.0, -7.0]
    odd = replace(PAIR, values=np.full(10, 1.0, dtype=np.float32), initial=np.full(2, 2.0**-9, dtype=np.float32))
    # 1 − 2⁻⁹ has nine significant bits, bfloat16 has eight: a tie, to the even neighbour 1.
    assert token_rewards(odd, "delta")[0] == 1.0


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"reward": "delta"}, "end of the prompt"),
        ({"sequence_reward": "scorer"}, "input row 0"),
        ({"baseline": {"kind": "dataset"}}, "statistics"),
        ({"segmenter": {"kind": "schmitt"}}, "statistics"),
        ({"segmenter": {"kind": "pivot"}}, "statistics"),
        ({"segmenter": {"kind": "optimal"}}, "statistics"),
    ],
)
def test_what_is_missing_is_named(settings_, message):
    with pytest.raises(ConfigError, match=message):
        segment_and_mask(PAIR, config(**settings_))


def statistics_over(batch, reward="value"):
    statistics = RewardStatistics()
    statistics.add(*span_rewards(batch, reward), np.ones(1, dtype=np.float32))
    return statistics


AUTO = [{"kind": "schmitt"}, {"kind": "pivot"}, {"kind": "optimal", "boundary": None}]
# Two spans of the scorer's a response, of three and two policy tokens each, and an end-of-turn token.
FINE = replace(
    batch_of([1, 1, 1, 3, 3, 3], [2, 2, 2, -1, -1, -1], preferred=[True, False]),
    span_reward=np.array([1, 3, 2, -1], dtype=np.float32),
    span_offsets=np.array([0, 2, 4]),
)
COARSE = replace(
    batch_of([1, 3, 3], [2, -1, -1], preferred=[True, False]),
    span_reward=FINE.span_reward,
    span_offsets=FINE.span_offsets,
)


def test_sigma_is_that_of_the_spans_whatever_the_policy_tokenizer():
    # Changes 2 and −3: median −0.5, deviations 2.5 and 2.5.
    expected = 1.4826 * 2.5 / np.sqrt(2)
    assert statistics_over(FINE).sigma() == statistics_over(COARSE).sigma() == pytest.approx(expected)
    # As increments from 0.5 and 1: (0.5, 2) and (1, −3), whose changes are 1.5 and −4: deviations 2.75.
    initial = np.array([0.5, 1.0], dtype=np.float32)
    fine, coarse = replace(FINE, initial=initial), replace(COARSE, initial=initial)
    expected = 1.4826 * 2.75 / np.sqrt(2)
    assert statistics_over(fine, "delta").sigma() == statistics_over(coarse, "delta").sigma() == pytest.approx(expected)


@pytest.mark.parametrize("segmenter", AUTO, ids=lambda one: one["kind"])
@pytest.mark.parametrize("noise", ["dataset", "response"])
def test_a_finer_tokenizer_makes_no_more_segments(segmenter, noise):
    found = []
    for batch in (FINE, COARSE):
        chosen = config(segmenter, {"kind": "sequence"}, noise=noise)
        masked, _ = segment_and_mask(batch, chosen, statistics_over(batch))
        found.append(np.diff(masked.segment_offsets).max())
    assert max(found) <= 2


@pytest.mark.parametrize("segmenter", AUTO, ids=lambda one: one["kind"])
def test_no_noise_where_it_is_needed_is_an_error_that_says_what_to_give(segmenter):
    # Tokens whose rewards change, and spans that say nothing of by how much.
    changing = batch_of([1, 3, 3], [2, 2, 2], preferred=[True, False])
    none = replace(changing, span_reward=np.array([1, 2], dtype=np.float32), span_offsets=np.array([0, 1, 2]))
    chosen = config(segmenter, {"kind": "sequence"})
    setting = chosen.segmenter.sigma_setting
    with pytest.raises(ConfigError, match=rf"σ of the rewards is 0.*give a number as {setting} \(--{setting} X\)"):
        segment_and_mask(none, chosen, statistics_over(none))
    given_number = config({**segmenter, setting: 0.5}, {"kind": "sequence"})
    assert segment_and_mask(none, given_number)[0].segment_offsets[-1] > 1


@pytest.mark.parametrize("segmenter", AUTO, ids=lambda one: one["kind"])
@pytest.mark.parametrize("noise", ["dataset", "response"])
def test_rewards_that_never_change_need_no_noise(segmenter, noise):
    flat = batch_of([1, 1, 1], [2, 2, 2], preferred=[True, False])
    chosen = config(segmenter, {"kind": "sequence"}, noise=noise)
    assert segment_and_mask(flat, chosen, statistics_over(flat))[0].segment_offsets.tolist() == [0, 1, 2]


def test_a_response_with_one_span_takes_the_noise_of_the_data_set():
    # --reward delta of one span: the jump is on the first of its tokens, the others add nothing.
    one = replace(
        batch_of([3, 3, 3], [2, 2, 5, 5], preferred=[True, False], group=[7, 8]),
        initial=np.array([1.0, 1.0], dtype=np.float32),
        span_reward=np.array([3, 2, 5], dtype=np.float32),
        span_offsets=np.array([0, 1, 3]),
    )
    chosen = config({"kind": "pivot", "k": 1.0}, {"kind": "sequence"}, reward="delta", noise="response")
    with pytest.raises(ConfigError, match="input row 7: the noise σ of this response is 0"):
        segment_and_mask(one, chosen)
    # The data set's changes: 3 − 1, so τ = √2 · 1.4826 · 2 / √2 = 2.97. No jump of the first response is larger.
    masked, _ = segment_and_mask(one, chosen, statistics_over(one, "delta"))
    assert masked.segment_offsets.tolist()[1] == 1


def test_rounding_far_from_0_is_no_lack_of_noise():
    # The tokens are all 9,984 as bfloat16; the spans are not.
    far = batch_of([9984] * 4, [9984] * 4, preferred=[True, False])
    far = replace(
        far,
        span_reward=np.array([1e4, 1e4 + 1, 1e4 - 1, 1e4, 1e4 + 2, 1e4], dtype=np.float32),
        span_offsets=np.array([0, 3, 6]),
    )
    masked, _ = segment_and_mask(far, config({"kind": "schmitt"}, {"kind": "sequence"}), statistics_over(far))
    assert masked.segment_offsets.tolist() == [0, 1, 2]


def test_last_reads_the_last_token_with_text():
    # Increments: the closing token has 0. Segments [0.5], [−1, 0] and [1, 0].
    batch = batch_of([0.5, -1, 0], [1, 0], preferred=[True, False])
    chosen = config({"kind": "pivot", "tau": 1.2}, {"kind": "sequence"}, sequence_reward="last", segment_reward="last")
    masked, _ = segment_and_mask(batch, chosen)
    assert masked.segment_start.tolist() == [0, 1, 0]
    assert masked.segment_reward.tolist() == [0.5, -1.0, 1.0]
    assert masked.reward.tolist() == [-1.0, 1.0]


def test_the_template_s_opening_tokens_add_nothing():
    # <think> and a line feed, three tokens of text, an end-of-turn token.
    batch = batch_of([0.75, 0.75, 0.75, 0.5, 0.5, 0.5], preferred=[True])
    batch = replace(
        batch,
        initial=np.array([0.25], dtype=np.float32),
        text=np.array([False, False, True, True, True, False]),
    )
    assert token_rewards(batch, "delta").tolist() == [0.0, 0.0, 0.5, -0.25, 0.0, 0.0]


@pytest.mark.parametrize(
    ("settings_", "needed"),
    [
        ({}, False),
        ({"segmenter": {"kind": "schmitt"}}, True),
        ({"segmenter": {"kind": "schmitt"}, "noise": "response"}, False),
        ({"segmenter": {"kind": "pivot"}}, True),
        ({"segmenter": {"kind": "optimal", "penalty": 1.0}}, False),
        ({"segmenter": {"kind": "optimal"}}, True),
        ({"segmenter": {"kind": "token"}, "baseline": {"kind": "dataset"}}, True),
    ],
)
def test_needs_statistics(settings_, needed):
    assert needs_statistics(config(**settings_)) is needed


SEGMENTERS = ["pivot", "schmitt", "optimal", "step", "fixed", "token", "sequence"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(-6, 6), min_size=1, max_size=9), min_size=1, max_size=5),
    st.sampled_from(SEGMENTERS),
    st.sampled_from(["dataset", "response"]),
    st.sampled_from(["sequence", "pair", "running", "dataset"]),
    st.sampled_from(["mean", "last"]),
)
def test_every_setting_masks_whole_segments(rows, segmenter, noise, baseline, reward):
    batch = batch_of(*rows, preferred=[i % 2 == 0 for i in range(len(rows))], group=np.arange(len(rows)) // 2)
    statistics = RewardStatistics()
    statistics.add(*span_rewards(batch, "value"), batch.values[batch.row_offsets[1:] - 1])
    chosen = config({"kind": segmenter}, {"kind": baseline}, noise=noise, segment_reward=reward, on_empty="drop")
    assume(noise == "response" or not chosen.segmenter.needs_sigma or statistics.sigma() > 0)
    masked, _ = segment_and_mask(batch, chosen, statistics)
    assert masked.segment_offsets[-1] == masked.segment_start.size == masked.segment_keep.size
    starts = masked.segment_start + np.repeat(batch.row_offsets[:-1], np.diff(masked.segment_offsets))
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < starts.size else batch.values.size
        inner = masked.mask[start:end][~batch.end[start:end]]
        assert (inner == masked.segment_keep[index]).all()
    assert masked.mask[batch.end].all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=12), st.integers(-3, 3), st.integers(-20, 20))
def test_masks_do_not_depend_on_the_scale(row, exponent, shift):
    scale = 2.0**exponent
    plain = batch_of(row, row[::-1], preferred=[True, False])
    moved = replace(plain, values=(plain.values + np.float32(shift)) * np.float32(scale))
    relative = config({"kind": "schmitt"}, {"kind": "sequence"}, noise="response", sequence_reward="last")
    assert np.array_equal(segment_and_mask(plain, relative)[0].mask, segment_and_mask(moved, relative)[0].mask)


def test_a_trend_is_to_be_known_first():
    for statistics in (None, RewardStatistics()):
        with pytest.raises(ConfigError, match="needs the mean reward by position over the whole data set first"):
            segment_and_mask(PAIR, config(detrend=True), statistics)
    assert needs_statistics(config(detrend=True))


def test_without_a_trend_the_noise_is_that_of_the_rewards_as_given():
    """Three tokens of one reward are said once: a trend that falls along them makes no change of it."""
    statistics = RewardStatistics(trend=np.linspace(1, 0, 20))
    flat = batch_of([2, 2, 2, 2], preferred=[True])
    masked, _ = segment_and_mask(flat, config("schmitt", noise="response", detrend=True), statistics)
    assert masked.token_reward.tolist() != [2, 2, 2, 2]
