from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from asr_data.errors import ConfigError, InputError
from asr_data.segments import Sequence, Token, split
from asr_data.segments.approximation import approximation_errors, errors_by_row, known_only
from asr_data.segments.noise import estimate_sigma, estimate_sigma_per_row
from asr_data.segments.rewards import increments, round_bfloat16, segment_rewards, sequence_rewards
from asr_data.segments.statistics import RewardStatistics

VALUES = np.array([1.0, 2.0, 6.0, 5.0, 7.0], dtype=np.float32)
OFFSETS = np.array([0, 3, 5])


def test_sigma_by_hand():
    # Differences 1, 4, 2: median 2, deviations 1, 2, 0, median 1.
    assert estimate_sigma(VALUES, OFFSETS) == pytest.approx(1.4826 / np.sqrt(2))
    # First row: 1, 4: median 2.5, both deviations 1.5. Second row: one difference of 2, and its deviation from 0.
    expected = [1.4826 * 1.5 / np.sqrt(2), 1.4826 * 2 / np.sqrt(2)]
    assert estimate_sigma_per_row(VALUES, OFFSETS) == pytest.approx(expected)


@pytest.mark.parametrize("repeats", [1, 2, 3, 7])
def test_sigma_does_not_depend_on_how_often_a_reward_is_said(repeats):
    rewards, offsets = np.repeat(VALUES, repeats), OFFSETS * repeats
    assert estimate_sigma(rewards, offsets) == estimate_sigma(VALUES, OFFSETS)
    assert estimate_sigma_per_row(rewards, offsets).tolist() == estimate_sigma_per_row(VALUES, OFFSETS).tolist()


def test_sigma_of_equal_changes_is_their_size():
    # Labels: 1, 0, 0, 0 and 1, 1, 0. Both changes are −1: no deviation from their median, but they are changes.
    labels = np.array([1, 0, 0, 0, 1, 1, 0], dtype=np.float32)
    assert estimate_sigma(labels, np.array([0, 4, 7])) == pytest.approx(1.4826 / np.sqrt(2))


def test_sigma_is_0_only_without_a_change():
    constant = np.array([3.0, 3.0, 5.0, 7.0], dtype=np.float32)
    assert estimate_sigma(constant, np.array([0, 2, 3, 4])) == 0.0
    assert estimate_sigma_per_row(constant, np.array([0, 0, 2, 3, 4])).tolist() == [0.0] * 4


def test_sigma_far_from_0():
    # 10,000 and multiples of 2⁻⁴ are exact in float32; as bfloat16 they would all be 9,984.
    near = np.array([0, 1, -1, 2, 0, 3], dtype=np.float32) / 16
    far = near + np.float32(10_000)
    assert estimate_sigma(far, np.array([0, 6])) == estimate_sigma(near, np.array([0, 6])) > 0
    assert np.unique(round_bfloat16(far)).tolist() == [9984.0]


def test_sigma_finds_the_noise_below_the_steps():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(0, 50, 800), 25) + rng.normal(0, 0.3, 20000)
    offsets = np.arange(0, 20001, 500)
    found = estimate_sigma(values.astype(np.float32), offsets)
    within = np.delete(np.diff(values), offsets[1:-1] - 1)
    assert found == pytest.approx(1.4826 * median_abs_deviation(within) / np.sqrt(2), rel=1e-4)
    assert found == pytest.approx(0.3, rel=0.1)


def test_rewards_by_hand():
    starts = np.array([0, 1, 3])
    assert segment_rewards(VALUES, OFFSETS, starts, "mean").tolist() == [1.0, 4.0, 6.0]
    assert segment_rewards(VALUES, OFFSETS, starts, "last").tolist() == [1.0, 6.0, 7.0]
    assert sequence_rewards(VALUES, OFFSETS, "mean").tolist() == [3.0, 6.0]
    assert sequence_rewards(VALUES, OFFSETS, "last").tolist() == [6.0, 7.0]
    assert sequence_rewards(VALUES, OFFSETS, "sum").tolist() == [9.0, 12.0]
    with pytest.raises(InputError, match="row 1"):
        sequence_rewards(VALUES, np.array([0, 5, 5]), "mean")


def test_last_is_the_last_token_with_text():
    # The closing token of a row of increments has 0. The second row's last segment holds nothing but closing tokens.
    rewards = np.array([0.5, -1.0, 0.0, 2.0, 3.0, 0.0, 0.0], dtype=np.float32)
    offsets, text = np.array([0, 3, 7]), np.array([1, 1, 0, 1, 1, 0, 0], dtype=bool)
    assert sequence_rewards(rewards, offsets, "last", text).tolist() == [-1.0, 3.0]
    assert segment_rewards(rewards, offsets, np.array([0, 1, 3, 4, 6]), "last", text).tolist() == [0.5, -1, 2, 3, 0]
    unknown = np.array([0.5, np.nan, 0.0, np.nan, np.nan, 0.0, np.nan], dtype=np.float32)
    # Known and with text: 0.5. The second row knows no token with text: its last known one.
    assert sequence_rewards(unknown, offsets, "last", text).tolist() == [0.5, 0.0]


def test_the_first_increment_is_on_the_first_token_with_text():
    # <think> and a line feed are the template's: they have the first token's value, and add nothing.
    values = np.array([0.75, 0.75, 0.75, 0.25, 0.25, 0.5], dtype=np.float32)
    text = np.array([0, 0, 1, 1, 0, 1], dtype=bool)
    found = increments(values, np.array([0, 5, 6]), np.array([0.5, 1.0], dtype=np.float32), text)
    assert found.tolist() == [0.0, 0.0, 0.25, -0.5, 0.0, -0.5]
    # Without text nothing is added.
    nothing = increments(values, np.array([0, 5, 6]), np.array([0.5, 1.0], dtype=np.float32), np.zeros(6, dtype=bool))
    assert nothing.tolist() == [0.0] * 6


def test_increments_by_hand():
    initial = np.array([0.5, 1.0], dtype=np.float32)
    assert increments(VALUES, OFFSETS, initial).tolist() == [0.5, 1.0, 4.0, 4.0, 2.0]
    with pytest.raises(ConfigError, match="response 1"):
        increments(VALUES, OFFSETS, np.array([0.5, np.nan], dtype=np.float32))
    empty_row = np.array([np.nan, 0.5, 1.0], dtype=np.float32)
    assert increments(VALUES, np.array([0, 0, 3, 5]), empty_row).tolist() == [0.5, 1.0, 4.0, 4.0, 2.0]


def test_round_bfloat16_equals_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = (bits[:1000] & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    values = np.concatenate([bits, ties]).view(np.float32)
    nans = np.array([0x7FC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], dtype=np.uint32).view(np.float32)
    values = np.concatenate([values, nans])
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    assert np.array_equal(round_bfloat16(values), expected, equal_nan=True)
    assert np.isnan(round_bfloat16(nans)).all()


UNKNOWN = np.array([1.0, np.nan, 6.0, 5.0, 7.0, np.nan, np.nan, 2.0, 3.0], dtype=np.float32)
UNKNOWN_OFFSETS = np.array([0, 3, 5, 7, 9])


def test_unknown_rewards_by_hand():
    # Only the differences 7 − 5 and 3 − 2 are of known neighbours: 2, 1, deviations 0.5.
    sigma = 1.4826 * 0.5 / np.sqrt(2)
    assert estimate_sigma(UNKNOWN, UNKNOWN_OFFSETS) == pytest.approx(sigma)
    assert estimate_sigma_per_row(UNKNOWN, np.array([0, 3, 9])) == pytest.approx([0.0, sigma])
    for how, expected in (("mean", [3.5, 6, np.nan, 2.5]), ("last", [6, 7, np.nan, 3]), ("sum", [7, 12, np.nan, 5])):
        np.testing.assert_array_equal(sequence_rewards(UNKNOWN, UNKNOWN_OFFSETS, how), expected)
    assert np.isnan(sequence_rewards(UNKNOWN[5:7], np.array([0, 2]), "last")).all()
    initial = np.array([0.5, 1.0, 1.0, 1.0], dtype=np.float32)
    expected = [0.5, np.nan, np.nan, 4.0, 2.0, np.nan, np.nan, 1.0, 1.0]
    np.testing.assert_array_equal(increments(UNKNOWN, UNKNOWN_OFFSETS, initial), expected)
    statistics = RewardStatistics()
    statistics.add(UNKNOWN, UNKNOWN_OFFSETS, sequence_rewards(UNKNOWN, UNKNOWN_OFFSETS, "mean"))
    assert statistics.sigma() == pytest.approx(sigma)
    assert statistics.baseline("mean") == 4.0
    assert statistics.baseline("median") == 3.5


def test_approximation_errors_by_hand():
    # Rows (1, 2, 6) around 3: 4 + 1 + 9 = 14; (5, 7) around 6: 2. Segments (1), (2, 6), (5, 7): 0 + 8 + 2.
    errors = approximation_errors(VALUES, OFFSETS, np.array([0, 1, 3]), 0.5)
    assert (errors.err_seq, errors.err_tok, errors.err_seg) == (16.0, 1.25, 10.75)
    assert (errors.tokens, errors.segments) == (5, 3)
    by_row = approximation_errors(VALUES, OFFSETS, np.array([0, 1, 3]), np.array([1.0, 2.0]))
    assert (by_row.err_tok, by_row.err_seg) == (3 + 8, 10 + 2 + 4)


def test_approximation_errors_of_each_row_by_hand():
    # The rows and segments above, after a row without tokens: its errors are 0.
    offsets = np.array([0, 0, 3, 5])
    found = errors_by_row(VALUES, offsets, np.array([0, 1, 3]), np.array([9.0, 1.0, 2.0]))
    np.testing.assert_array_equal(found, [[0, 0, 0], [14, 3, 8 + 2], [2, 8, 2 + 4]])


def test_unknown_tokens_are_left_out_of_the_errors():
    nan = np.nan
    rewards = np.array([nan, 1.0, 3.0, nan, nan, 5.0, nan], dtype=np.float32)
    # rows [0, 4), [4, 5) and [5, 7); segments at 0 (unknown), 1, 3 (unknown), 4 (unknown), 5, 6 (unknown)
    kept, offsets, starts = known_only(rewards, np.array([0, 4, 5, 7]), np.array([0, 1, 3, 4, 5, 6]))
    assert kept.tolist() == [1.0, 3.0, 5.0]
    assert offsets.tolist() == [0, 2, 2, 3]
    assert starts.tolist() == [0, 2]


def test_the_extremes_of_eq_14():
    token = approximation_errors(VALUES, OFFSETS, split(VALUES, OFFSETS, Token()), 0.5)
    assert token.err_seg == token.err_tok
    sequence = approximation_errors(VALUES, OFFSETS, split(VALUES, OFFSETS, Sequence()), 0.5)
    assert sequence.err_seg == sequence.err_seq + 2 * 0.25


def test_statistics_by_hand():
    statistics = RewardStatistics()
    statistics.add(VALUES[:3], np.array([0, 3]), np.array([3.0], dtype=np.float32))
    statistics.add(VALUES[3:], np.array([0, 2]), np.array([6.0], dtype=np.float32))
    statistics.add(VALUES[:0], np.array([0]), np.empty(0, dtype=np.float32))
    assert statistics.sigma() == estimate_sigma(VALUES, OFFSETS)
    assert statistics.baseline("mean") == 4.5
    assert statistics.baseline("median") == 4.5
    assert statistics.baseline(0.1) == pytest.approx(3.3)


def test_statistics_without_rows():
    assert RewardStatistics().sigma() == 0.0
    with pytest.raises(InputError):
        RewardStatistics().baseline("mean")


def test_statistics_do_not_depend_on_the_batches():
    rng = np.random.default_rng(3)
    values = rng.normal(size=5000).astype(np.float32)
    offsets = np.arange(0, 5001, 10)
    rewards = rng.normal(size=500).astype(np.float32)
    found = set()
    for size in (1, 7, 100, 500):
        statistics = RewardStatistics(limit=64)
        for a in range(0, 500, size):
            b = min(a + size, 500)
            statistics.add(values[offsets[a] : offsets[b]], offsets[a : b + 1] - offsets[a], rewards[a:b])
        found.add((statistics.sigma(), statistics.baseline("mean"), statistics.baseline("median")))
    assert len(found) == 1
    sigma, mean, median = found.pop()
    assert mean == pytest.approx(float(rewards.mean()), abs=1e-6)
    # 500 rewards, at most 64 kept: every 8th.
    assert median == pytest.approx(float(np.median(rewards[::8])))
    # 4,500 differences, at most 64 kept: every 128th, 36 of them.
    differences = np.diff(values.reshape(500, 10), axis=1).ravel()[::128]
    assert sigma == pytest.approx(1.4826 * median_abs_deviation(differences) / np.sqrt(2), rel=1e-6)
