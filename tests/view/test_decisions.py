from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asr_data.config import (
    BaselineConfig,
    DatasetBaseline,
    FixedBaseline,
    MaskConfig,
    PairBaseline,
    RunningBaseline,
    Schmitt,
    SegmenterConfig,
    SequenceBaseline,
    Token,
)
from asr_data.view.decisions import Decision, decisions
from asr_data.view.reading import first_rows, rows_by_index


@pytest.mark.parametrize("prefix", ["", "x_"])
@pytest.mark.parametrize(
    "baseline",
    [
        FixedBaseline(value=0.1),
        SequenceBaseline(),
        PairBaseline(),
        DatasetBaseline(statistic="mean"),
        DatasetBaseline(statistic=0.25),
        RunningBaseline(decay=0.5),
    ],
)
def test_the_baseline_explains_every_stored_decision(annotate: Any, baseline: BaselineConfig, prefix: str) -> None:
    """Eq. 8 again, from the columns: what is found must be what the masks were made with."""
    annotated = annotate(mask=MaskConfig(baseline=baseline, segmenter=Token()), prefix=prefix, shard_rows=2)
    rows = first_rows(annotated, 9)
    compared = 0
    for one, decided in zip(rows, decisions(annotated, rows), strict=True):
        for side, sign in (("chosen", 1), ("rejected", -1)):
            if f"empty_mask_{side}" in one.columns[f"{prefix}asr_notes"]:
                continue
            b = decided[side].baseline
            assert b is not None
            rewards = one.columns[f"{prefix}{side}_seg_reward"]
            expected = [reward > b if sign > 0 else reward <= b for reward in rewards]
            assert one.columns[f"{prefix}{side}_seg_keep"] == expected
            compared += len(rewards)
    assert compared > 50


def test_only_some_rows(annotate: Any) -> None:
    annotated = annotate(mask=MaskConfig(baseline=RunningBaseline(decay=0.5)), shard_rows=2)
    every = decisions(annotated, first_rows(annotated, 9))
    assert decisions(annotated, rows_by_index(annotated, [4, 1])) == [every[3], every[1]]


def test_the_midpoint_of_a_pair_by_hand(annotate: Any) -> None:
    annotated = annotate()
    (one,) = first_rows(annotated, 1)
    (decided,) = decisions(annotated, [one])
    middle = (one.columns["chosen_reward"] + one.columns["rejected_reward"]) / 2
    assert decided["chosen"] == decided["rejected"]
    assert decided["chosen"].baseline == pytest.approx(middle, abs=1e-12)


def test_what_other_rows_decided_is_not_guessed_where_some_were_dropped(annotate: Any) -> None:
    mask = MaskConfig(baseline=DatasetBaseline(statistic=1.0), on_empty="drop", segmenter=Token())
    annotated = annotate(mask=mask)
    assert annotated.manifest.counts.rejects["empty_mask"] > 0
    rows = first_rows(annotated, 9)
    assert [decided["chosen"] for decided in decisions(annotated, rows)] == [Decision()] * len(rows)


@pytest.mark.parametrize(
    ("segmenter", "noise", "expected"),
    [
        (Schmitt(delta=0.25), "dataset", 0.25),
        (Schmitt(), "dataset", "sigma"),
        (Schmitt(), "response", "own"),
        (Token(), "dataset", None),
    ],
)
def test_dead_band(annotate: Any, segmenter: SegmenterConfig, noise: Any, expected: Any) -> None:
    annotated = annotate(mask=MaskConfig(segmenter=segmenter, noise=noise))
    (one,) = first_rows(annotated, 1)
    delta = decisions(annotated, [one])[0]["chosen"].delta
    if expected == "sigma":
        expected = annotated.manifest.statistics["sigma"]
    elif expected == "own":
        scores = next(annotated.score_batches()).to_pylist()[0]
        spans = zip(scores["chosen_span_end"], scores["chosen_span_reward"], strict=True)
        steps = np.diff([reward for end, reward in spans if end > 0])
        steps = steps[steps != 0]
        expected = pytest.approx(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2), rel=1e-6)
    assert delta == expected


def test_baseline_and_band_explain_every_cut(annotate: Any) -> None:
    """Eq. 15 again, token by token, from the columns and what was found for them."""
    annotated = annotate(mask=MaskConfig(segmenter=Schmitt(k=0.75)))
    rows = first_rows(annotated, 9)
    cuts = 0
    for one, decided in zip(rows, decisions(annotated, rows), strict=True):
        for side in ("chosen", "rejected"):
            b, delta = decided[side].baseline, decided[side].delta
            assert b is not None
            assert delta is not None
            states = [1 if r > b + delta else -1 if r < b - delta else 0 for r in one.columns[f"{side}_token_reward"]]
            held = next((state for state in states if state), 0)
            starts = [0]
            for token, state in enumerate(states):
                if state and state != held:
                    starts.append(token)
                    held = state
            assert one.columns[f"{side}_seg_start"] == starts
            cuts += len(starts) - 1
    assert cuts > 5
