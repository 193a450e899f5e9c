from __future__ import annotations

import numpy as np
import pytest

from asr_data.masks.positions import (
    KeptByPosition,
    kept_by_position,
    position_warnings,
    tokens_by_fifth,
)
from asr_data.segments.positions import relative_position

# Two responses: seven tokens of which the last ends the turn, and two tokens.
OFFSETS = np.array([0, 7, 9], dtype=np.int64)
COUNTED = np.array([True] * 6 + [False] + [True, True])


def by_shares(*shares: float, responses: int = 100) -> KeptByPosition:
    return KeptByPosition(tuple(round(1000 * share) for share in shares), (1000,) * 5, responses)


def test_positions_are_centres_and_uncounted_tokens_stand_at_the_last_one() -> None:
    found = relative_position(COUNTED, OFFSETS)
    np.testing.assert_allclose(found, [*((k + 0.5) / 6 for k in range(6)), 5.5 / 6, 0.25, 0.75])
    first_is_not = relative_position(np.array([False, True, True]), np.array([0, 3]))
    np.testing.assert_allclose(first_is_not, [0.25, 0.25, 0.75])
    assert relative_position(np.array([False]), np.array([0, 1])).tolist() == [0.5]


def test_fifths() -> None:
    """Six tokens: ⌊5 k / 6⌋ is 0, 0, 1, 2, 3, 4; two tokens: 0 and 2."""
    everything = np.ones(9, dtype=np.bool_)
    assert tokens_by_fifth(everything, COUNTED, OFFSETS).tolist() == [[2, 1, 1, 1, 1], [1, 0, 1, 0, 0]]
    mask = np.array([True, False, False, False, True, True, True, False, True])
    assert tokens_by_fifth(mask, COUNTED, OFFSETS).tolist() == [[1, 0, 0, 1, 1], [0, 0, 1, 0, 0]]
    found = kept_by_position(mask, COUNTED, OFFSETS, np.array([True, False]))
    assert found == KeptByPosition((1, 0, 0, 1, 1), (2, 1, 1, 1, 1), 1)
    assert found.shares == (0.5, 0.0, 0.0, 1.0, 1.0)


def test_auroc_by_hand() -> None:
    """Kept 2 in the first fifth and 1 in the third, dropped 1 in the first and 2 in the second: of 9 pairs the kept one
    is earlier in 2 · 2, later in 1 · 3, and level in 2 · 1."""
    found = KeptByPosition((2, 0, 1, 0, 0), (3, 2, 1, 0, 0), 3)
    assert found.auroc == pytest.approx((4 + 1) / 9)
    assert KeptByPosition((0, 1), (1, 1), 3).auroc == 1.0  # the later one is kept: as telling as the earlier
    assert KeptByPosition((3, 2), (3, 2), 3).auroc is None
    assert KeptByPosition((0, 0), (3, 2), 3).auroc is None
    assert KeptByPosition((1, 0, 0, 0, 0), (3, 0, 0, 0, 0), 1).shares == (1 / 3, None, None, None, None)


def test_masks_that_follow_position_are_told() -> None:
    """The built-in model's on hh-rlhf warn; the same shares whatever the position do not, nor do a few responses."""
    chosen, rejected = by_shares(0.79, 0.54, 0.44, 0.27, 0.22), by_shares(0.04, 0.41, 0.79, 0.92, 0.93)
    assert chosen.auroc == pytest.approx(0.728, abs=0.001)
    assert rejected.auroc == pytest.approx(0.888, abs=0.001)
    told = position_warnings([("chosen", chosen), ("rejected", rejected), ("flat", by_shares(*[0.9] * 5))])
    assert [line.partition(":")[0] for line in told] == ["chosen", "rejected"]
    assert "AUROC of 0.73" in told[0]
    assert "--detrend" in told[0]
    assert not by_shares(0.04, 0.41, 0.79, 0.92, 0.93, responses=19).is_suspect


def test_random_masks_are_not() -> None:
    generator = np.random.default_rng(0)
    offsets = np.arange(0, 40 * 50 + 1, 50, dtype=np.int64)
    counted = np.ones(2000, dtype=np.bool_)
    for share in (0.1, 0.5, 0.95):
        by_segment = np.repeat(generator.random(200) < share, 10)  # five segments of ten tokens in each response
        found = kept_by_position(by_segment, counted, offsets, np.ones(40, dtype=np.bool_))
        assert not found.is_suspect
