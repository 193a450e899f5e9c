"""Rewards that are not known: never good, never bad."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asr_data.config import MaskConfig
from asr_data.errors import ConfigError, InputError
from asr_data.masks import Responses, TokenBatch, keep_segments, segment_and_mask, span_rewards
from asr_data.masks.known_runs import known_runs
from asr_data.segments import SplitContext, split
from asr_data.segments.noise import estimate_sigma_per_row
from asr_data.segments.statistics import RewardStatistics

NAN = float("nan")


def batch_of(*rows, preferred, group=None, step_start=None, boundary=None):
    """Rows of rewards; the last token of each is its end-of-turn token."""
    offsets = np.cumsum([0, *(len(row) for row in rows)])
    size = int(offsets[-1])
    end = np.zeros(size, dtype=np.bool_)
    end[offsets[1:] - 1] = True
    nothing = np.full(len(rows), np.nan, dtype=np.float32)
    return TokenBatch(
        values=np.concatenate(rows).astype(np.float32),
        row_offsets=offsets,
        written=np.ones(size, dtype=np.bool_),
        end=end,
        preferred=np.array(preferred),
        group=np.zeros(len(rows), dtype=np.int64) if group is None else np.array(group),
        boundary=np.zeros(size, dtype=np.int8) if boundary is None else np.array(boundary, dtype=np.int8),
        step_start=np.zeros(size, dtype=np.bool_) if step_start is None else np.array(step_start),
        initial=nothing,
        scorer_reward=nothing,
    )


def config(segmenter, baseline=0.0, **more):
    fixed = {"kind": "fixed", "value": baseline} if isinstance(baseline, float) else baseline
    return MaskConfig.model_validate({"segmenter": segmenter, "baseline": fixed, **more})


def bits(text):
    return [character == "1" for character in text]


SCHMITT = {"kind": "schmitt", "delta": 0.25}
ROWS = ([1, 1, NAN, NAN, 1, -1, -1], [-1, NAN, 1, 1, NAN, NAN])
PAIR = batch_of(*ROWS, preferred=[True, False])


def test_runs_by_hand():
    runs = known_runs(PAIR.values, PAIR.row_offsets)
    assert runs.token.tolist() == [0, 1, 4, 5, 6, 7, 9, 10]
    assert runs.offsets.tolist() == [0, 2, 5, 6, 8]
    assert runs.row.tolist() == [0, 0, 1, 1]
    assert runs.unknown_start.tolist() == [2, 8, 11]


def test_runs_end_with_their_row():
    runs = known_runs(np.array([1, 2, NAN, NAN], dtype=np.float32), np.array([0, 1, 1, 2, 3, 4]))
    assert (runs.offsets.tolist(), runs.row.tolist()) == ([0, 1, 2], [0, 2])
    assert runs.unknown_start.tolist() == [2, 3]


def test_a_run_of_unknown_tokens_is_a_segment_that_no_side_keeps():
    masked, _ = segment_and_mask(PAIR, config(SCHMITT))
    assert masked.segment_start.tolist() == [0, 2, 4, 5, 0, 1, 2, 4]
    assert masked.segment_offsets.tolist() == [0, 4, 8]
    np.testing.assert_array_equal(masked.segment_reward, [1, NAN, 1, -1, -1, NAN, 1, NAN])
    assert masked.segment_keep.tolist() == bits("10101000")
    # The end tokens are kept by end_token, the rejected one's although its reward is unknown.
    assert masked.mask.tolist() == bits("1100101" + "100001")
    # Over known rewards: (1 + 1 + 1 − 1 − 1) / 5, and (−1 + 1 + 1) / 3.
    assert masked.reward.tolist() == pytest.approx([0.2, 1 / 3])
    assert masked.empty.tolist() == [False, False]


def test_end_tokens_of_unknown_reward():
    masked, _ = segment_and_mask(PAIR, config(SCHMITT, end_token="segment"))  # noqa: S106
    assert masked.mask.tolist() == bits("1100100" + "100000")


@pytest.mark.parametrize("unknown", ["keep", "drop"])
@pytest.mark.parametrize(
    ("on_empty", "keep", "mask"),
    [
        ("keep-all", "111", "1111"),
        ("keep-best", "001", "0011"),  # the best known one
        ("drop", "000", "0001"),  # the pipeline takes the row out
    ],
)
def test_nothing_known_or_nothing_good(on_empty, keep, mask, unknown):
    """Of the first response nothing is known, which --unknown decides; of the second nothing is good."""
    batch = batch_of([NAN, NAN], [NAN, -2, -1, -1], preferred=[True, True])
    masked, _ = segment_and_mask(batch, config({"kind": "pivot", "tau": 0.5}, on_empty=on_empty, unknown=unknown))
    whole = "1" if unknown == "keep" else "0"
    assert masked.segment_start.tolist() == [0, 0, 1, 2]
    assert masked.segment_keep.tolist() == bits(whole + keep)
    assert masked.mask.tolist() == bits(2 * whole + mask)  # not even its end token, where it is dropped
    np.testing.assert_array_equal(masked.reward, np.array([NAN, -4 / 3], dtype=np.float32))
    assert masked.empty.tolist() == [False, True]
    assert masked.unknown.tolist() == [True, False]


@pytest.mark.parametrize(
    ("end_token", "mask"), [("keep", "11" + "01"), ("mask", "10" + "00"), ("segment", "11" + "00")]
)
def test_end_tokens_of_a_response_that_trains_whole(end_token, mask):
    batch = batch_of([NAN, NAN], [-2.0, -1.0], preferred=[True, True])
    chosen = config({"kind": "token"}, {"kind": "fixed", "value": 0.0}, on_empty="keep-best", end_token=end_token)
    masked, _ = segment_and_mask(batch, chosen.model_copy(update={"on_empty": "drop"}))
    assert masked.mask.tolist() == bits(mask)


def test_the_scorer_s_own_sequence_score_of_a_response_of_which_nothing_is_known():
    rows = batch_of([NAN, NAN], [1.0, 2.0], preferred=[True, True])
    batch = replace(rows, scorer_reward=np.array([NAN, 5.0], dtype=np.float32))
    masked, _ = segment_and_mask(batch, config({"kind": "token"}, sequence_reward="scorer"))
    np.testing.assert_array_equal(masked.reward, np.array([NAN, 5.0], dtype=np.float32))
    known = replace(batch, scorer_reward=np.array([NAN, NAN], dtype=np.float32))
    with pytest.raises(ConfigError, match="own sequence score"):
        segment_and_mask(known, config({"kind": "token"}, sequence_reward="scorer"))


def test_the_best_is_never_an_unknown_segment():
    batch = batch_of([NAN, NAN, -3, NAN, -2, NAN], preferred=[True])
    masked, _ = segment_and_mask(batch, config({"kind": "token"}, on_empty="keep-best"))
    assert masked.segment_keep.tolist() == bits("00010")


def test_no_side_keeps_what_is_unknown():
    kept = [
        keep_segments(np.array([NAN]), np.array([0]), np.array([b]), np.array([p])) for b in (0.0, NAN) for p in (1, 0)
    ]
    assert not np.concatenate(kept).any()


REWARDS = np.array([1.0, NAN, NAN, NAN, 5.0, 3.0], dtype=np.float32)
GROUP = np.array([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("baseline", "expected", "running"),
    [
        ({"kind": "sequence"}, [1, NAN, NAN, NAN, 5, 3], None),
        ({"kind": "pair"}, [1, 1, NAN, NAN, 4, 4], None),
        # 1 and 4 are what rows have; row 1 changes nothing. 0.5 · 1 + 0.5 · 4 = 2.5.
        ({"kind": "running", "decay": 0.5}, [1, 1, 1, 1, 1, 1], 2.5),
    ],
)
def test_baselines(baseline, expected, running):
    found, after = config(SCHMITT, baseline).baseline.values(Responses(REWARDS, GROUP))
    np.testing.assert_array_equal(found, expected)
    assert after == running


def test_running_begins_at_the_first_known_row():
    running = config(SCHMITT, {"kind": "running", "decay": 0.5}).baseline
    found, after = running.values(Responses(REWARDS[2:], GROUP[2:]))
    np.testing.assert_array_equal(found, [NAN, NAN, 4, 4])
    assert after == 4.0


def test_infinite_rewards_are_refused():
    with pytest.raises(InputError, match="the reward is inf"):
        segment_and_mask(batch_of([NAN, np.inf, 1], preferred=[True]), config(SCHMITT))


# --- the rule for any row: known stretches are cut as rows of their own ------------------------------------

REWARD = st.integers(-8, 8).map(lambda n: n / 4)
ROWS_OF_REWARDS = st.lists(st.lists(REWARD | st.just(NAN), min_size=1, max_size=12), min_size=1, max_size=5)


SETTINGS = {
    "pivot": {"kind": "pivot"},
    "schmitt": {"kind": "schmitt"},
    "optimal": {"kind": "optimal", "penalty": "bic", "boundary": {"sentence": 0.25, "word": 2.0}},
    "paper": {"kind": "optimal", "penalty": "paper", "boundary": None},
    "step": {"kind": "step"},
    "token": {"kind": "token"},
    "sequence": {"kind": "sequence"},
}


def slow_starts(row, kind, sigma, baseline, boundary, step_start):
    """Cut at every change between known and unknown, and each known stretch alone."""
    starts, begin = [], 0
    for position in range(1, len(row) + 1):
        if position < len(row) and np.isnan(row[position]) == np.isnan(row[begin]):
            continue
        if np.isnan(row[begin]):
            starts.append(begin)
        else:
            part = slice(begin, position)
            context = SplitContext(baseline, sigma, boundary[part], step_start[part])
            segmenter = config(SETTINGS[kind]).segmenter
            starts += (begin + split(row[part], [0, position - begin], segmenter, context)).tolist()
        begin = position
    return starts


def slow_sigma(row):
    """From the changes between tokens with text, which the last one, an end-of-turn token, is not."""
    differences = np.array([b - a for a, b in pairwise(row[:-1]) if b - a == b - a and b != a])
    if len(differences) == 0:
        return 0.0
    deviations = np.abs(differences - np.median(differences))
    spread = np.median(deviations) or np.median(np.abs(differences))
    return 1.4826 * float(spread) / np.sqrt(2)


@settings(max_examples=150, deadline=None)
@given(ROWS_OF_REWARDS, st.sampled_from(sorted(SETTINGS)), st.sampled_from(["dataset", "response"]), st.randoms())
def test_known_stretches_are_cut_as_rows_of_their_own(rows, kind, noise, random):
    size = sum(map(len, rows))
    marks = [random.random() < 0.3 for _ in range(size)]
    batch = batch_of(
        *rows,
        preferred=[True] * len(rows),
        group=range(len(rows)),
        step_start=marks,
        boundary=[random.randrange(5) for _ in range(size)],
    )
    statistics = RewardStatistics()
    statistics.add(*span_rewards(batch, "value"), np.zeros(0, dtype=np.float32))
    chosen = config(SETTINGS[kind], {"kind": "sequence"}, noise=noise)
    assume(noise == "response" or not chosen.segmenter.needs_sigma or statistics.sigma() > 0)
    masked, _ = segment_and_mask(batch, chosen, statistics)
    for index, row in enumerate(rows):
        part = slice(*batch.row_offsets[index : index + 2].tolist())
        known = [value for value in row if value == value]
        expected = slow_starts(
            batch.values[part],
            kind,
            slow_sigma(row) if noise == "response" else statistics.sigma(),
            float(np.float32(np.mean(known))) if known else 0.0,
            batch.boundary[part],
            batch.step_start[part],
        )
        found = masked.segment_start[slice(*masked.segment_offsets[index : index + 2].tolist())]
        assert found.tolist() == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(REWARD, min_size=1, max_size=12), min_size=2, max_size=6),
    st.sampled_from(sorted(SETTINGS)),
    st.sampled_from(["dataset", "response"]),
    st.sampled_from(["sequence", "pair", "running", "dataset"]),
    st.sampled_from(["keep-all", "keep-best", "drop"]),
)
def test_a_response_of_unknown_reward_changes_no_other(rows, kind, noise, baseline, on_empty):
    """Beside such a response, the others come out as they do without it, by the path that knows no unknowns."""
    preferred = [index % 2 == 0 for index in range(len(rows))]
    alone = batch_of(*rows, preferred=preferred, group=np.arange(len(rows)) // 2)
    beside = batch_of(*rows, [NAN, NAN], preferred=[*preferred, True], group=[*(np.arange(len(rows)) // 2), len(rows)])
    statistics = RewardStatistics()
    statistics.add(alone.values, alone.row_offsets, np.ones(3, dtype=np.float32))
    chosen = config(SETTINGS[kind], {"kind": baseline}, noise=noise, on_empty=on_empty)
    one, running = segment_and_mask(alone, chosen, statistics)
    other, running_beside = segment_and_mask(beside, chosen, statistics)
    assert running == running_beside
    for name in ("token_reward", "mask", "segment_start", "segment_reward", "segment_keep", "reward", "empty"):
        expected = getattr(one, name)
        assert np.array_equal(getattr(other, name)[: expected.size], expected), name


def test_sigma_per_response_leaves_out_unknown_neighbours():
    row = np.array([0, 1, NAN, 9, 9, 11], dtype=np.float32)
    # Changes 1 and 2: median 1.5, deviations 0.5.
    assert estimate_sigma_per_row(row, np.array([0, 6])) == pytest.approx([1.4826 * 0.5 / np.sqrt(2)])
