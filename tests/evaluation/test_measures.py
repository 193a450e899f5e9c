"""Measures on two small responses, worked out by hand.

chosen    tokens 0–5, the last one ends the turn   faulty: 2 3        segments [0,2) [2,5) [5,6)
rejected  tokens 0–3                               faulty: 1; 3 unknown   segments [0,1) [1,4)
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from asr_data.evaluation.measures import TITLES, LabelledResponses, gold_boundaries, measure, within_auroc
from asr_data.statistics.ranking import auroc

NAN = float("nan")


def judged(rewards: list[float], mask: list[bool]) -> LabelledResponses:
    starts = np.array([0, 2, 5, 6, 7], dtype=np.int64)
    values = np.array(rewards, dtype=np.float32)
    return LabelledResponses(
        rewards=values,
        row_offsets=np.array([0, 6, 10], dtype=np.int64),
        starts=starts,
        segment_reward=np.array([part.mean() for part in np.split(values, starts[1:])], dtype=np.float32),
        mask=np.array(mask),
        reward=np.array([values[:6].mean(), values[6:].mean()], dtype=np.float32),
        preferred=np.array([True, False]),
        group=np.array([4, 4]),
        written=np.array([True] * 5 + [False] + [True] * 4),
        step_start=np.array([True, False, False, True, False, False, True, False, True, False]),
        faulty=np.array([False, False, True, True, False, False, False, True, False, False]),
        known=np.array([True] * 5 + [False] + [True] * 3 + [False]),
    )


PERFECT = judged(
    rewards=[1, 1, 0, 0, 1, 1, 1, 0, 1, 0],
    mask=[True, True, False, False, True, True, False, True, False, False],
)
FLAT = judged(rewards=[0.5] * 10, mask=[True] * 10)


def values(one: LabelledResponses, **options: int) -> dict[str, float]:
    found = {name: one.value() for name, one in measure(one, 0.5, **options).items()}
    assert list(found) == list(TITLES)
    return {name: value for name, value in found.items() if value is not None}


def test_perfect_rewards_and_masks() -> None:
    found = values(PERFECT)
    # Each faulty token is below each sound one; all three are called, and nothing else.
    assert found["token_auroc"] == 1.0
    assert [found[name] for name in ("precision", "recall", "f1", "balanced_accuracy")] == [1.0] * 4


def test_rewards_that_know_nothing() -> None:
    found = values(FLAT)
    assert found["token_auroc"] == found["segment_auroc"] == 0.5
    # Keeping all calls the whole rejected response faulty: one of three faults, and two sound tokens of five.
    assert found["precision"] == 1 / 3
    assert found["recall"] == 1 / 3
    assert found["f1"] == 1 / 3
    assert found["balanced_accuracy"] == 0.5  # in chosen (0 + 1) / 2, in rejected (1 + 0) / 2
    assert found["pairs_outcome"] == found["pairs_mean_step"] == found["pairs_last_step"] == 0.5
    assert found["err_seq"] == 0.0


def test_rewards_by_chance_are_at_one_half() -> None:
    draw = np.random.default_rng(0)
    found = [
        np.nanmean(within_auroc(FLAT, draw.random(10).astype(np.float32)))
        for _ in range(4000)  # of the mean of 6 and 2 pairs, the standard error is 0.006
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)


def test_segment_auroc_gives_each_token_its_segments_reward() -> None:
    found = values(PERFECT)
    # chosen: segments 1 and 1/3; faults 2, 3 at 1/3 against 0, 1 at 1 and 4 at 1/3: (2 + 2 + ½ + ½) / 6
    # rejected: segments 1 and 1/3: fault 1 at 1/3 against 0 at 1 and 2 at 1/3: 1½ / 2
    assert found["segment_auroc"] == pytest.approx((5 / 6 + 3 / 4) / 2)


def test_a_mask_that_errs_in_both_ways() -> None:
    mask = PERFECT.mask.copy()
    mask[[0, 2, 6]] = [False, True, True]  # drops a sound token, keeps a fault; trains on a sound rejected one
    found = values(replace(PERFECT, mask=mask))
    assert found["precision"] == 2 / 4
    assert found["recall"] == 2 / 3
    assert found["f1"] == pytest.approx(4 / 7)
    # chosen: 1 of 2 faults, 2 of 3 sound; rejected: 1 of 1, 1 of 2
    assert found["balanced_accuracy"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + (1 + 1 / 2) / 2) / 2)


def test_boundaries_within_the_tolerance_are_matched_once() -> None:
    assert gold_boundaries(PERFECT).tolist() == [2, 4, 7, 8]
    # Segments start at 2 and 7; 5 is an end-of-turn token, of which gold says nothing.
    assert values(PERFECT, tolerance=0)["boundary_f1"] == pytest.approx(2 * 2 / (2 + 4))
    shifted = replace(PERFECT, starts=np.array([0, 3, 6, 7]), segment_reward=np.zeros(4, dtype=np.float32))
    assert values(shifted, tolerance=0)["boundary_f1"] == pytest.approx(2 * 1 / (2 + 4))
    # 3 fits both 2 and 4, and counts for one of them.
    assert values(shifted, tolerance=1)["boundary_f1"] == pytest.approx(2 * 2 / (2 + 4))


def test_purity_counts_labelled_tokens() -> None:
    # [0,2) 2 of 2, [2,5) 2 of 3, [5,6) none; [0,1) 1 of 1, [1,4) 1 of 2
    assert values(PERFECT)["purity"] == 6 / 8


def test_pairs_by_outcome_steps_and_last_step() -> None:
    found = values(PERFECT)
    # chosen: mean 4/6; steps (1 + 1 + 0) / 3 and (0 + 1 + 1) / 3; rejected: mean 1/2; steps 1/2 and 1/2
    assert found["pairs_outcome"] == found["pairs_mean_step"] == found["pairs_last_step"] == 1.0
    last = measure(PERFECT, 0.5, step_reward="last")
    # by last tokens: chosen (0 + 1) / 2, rejected (0 + 0) / 2; last steps 1 and 0
    assert last["pairs_mean_step"].value() == last["pairs_last_step"].value() == 1.0
    assert last["pairs_outcome"].items == 1


def test_errors_per_token() -> None:
    found = values(PERFECT)
    # eq. 12: 6·(4/6)(2/6) + 4·¼ = 4/3 + 1; eq. 13: σ² each; eq. 14: 2/3 in each segment of three, and 5 σ²
    assert found["err_seq"] == pytest.approx((4 / 3 + 1) / 10)
    assert found["err_tok"] == 0.25
    assert found["err_seg"] == pytest.approx((4 / 3 + 5 * 0.25) / 10)
    assert found["segments"] == 2.5
    assert found["kept"] == 4 / 9


def test_unknown_rewards_enter_nothing() -> None:
    rewards = PERFECT.rewards.copy()
    rewards[:6] = NAN
    segments = PERFECT.segment_reward.copy()
    segments[:3] = NAN
    unknown = replace(PERFECT, rewards=rewards, segment_reward=segments, reward=np.array([NAN, 0.5], dtype=np.float32))
    found = values(unknown)
    assert found["token_auroc"] == 1.0  # of the rejected response alone
    assert "pairs_outcome" not in found
    assert found["err_seq"] == pytest.approx(1 / 4)  # eq. 12 of the rejected response, over its four tokens


def test_ranking_all_responses_at_once_agrees_with_one_by_one() -> None:
    draw = np.random.default_rng(3)
    offsets = np.concatenate(([0], np.cumsum(draw.integers(1, 30, 40)))).astype(np.int64)
    size = int(offsets[-1])
    scores = draw.integers(0, 6, size).astype(np.float32)  # many ties
    known, faulty = draw.random(size) < 0.8, draw.random(size) < 0.3
    many = replace(
        FLAT, rewards=scores, row_offsets=offsets, reward=np.zeros(40, dtype=np.float32), known=known, faulty=faulty
    )
    found = within_auroc(many, scores)
    for row, (begin, end) in enumerate(pairwise(offsets)):
        use = known[begin:end]
        expected = auroc(-scores[begin:end][use], faulty[begin:end][use])
        assert np.isnan(found[row]) if expected is None else found[row] == pytest.approx(expected)
