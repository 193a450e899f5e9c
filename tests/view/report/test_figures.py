from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig, Sequence, Token
from asr_data.view.report.figures import RewardCounts, figures_of, reward_bins, segment_bins, share_bins


def test_rewards_are_counted_as_bfloat16() -> None:
    counts = RewardCounts()
    counts.add(np.array([0.5, -1.0, np.nan, 0.5], dtype=np.float32))
    counts.add(np.array([1.0001, 0.0], dtype=np.float32))  # 1.0001 is between 1 and 1 + 2⁻⁷
    values, number = counts.distinct()
    assert values.tolist() == [-1.0, 0.0, 0.5, 1.0]
    assert number.tolist() == [1, 1, 2, 1]


def test_bins_of_rewards_by_hand() -> None:
    chosen, rejected = RewardCounts(), RewardCounts()
    chosen.add(np.array([0.0, 1.0, 2.0, 4.0], dtype=np.float32))
    rejected.add(np.array([3.0], dtype=np.float32))
    assert reward_bins({"chosen": chosen, "rejected": rejected}, bins=2) == [
        {"side": "chosen", "x": 0.0, "share": 0.5},  # [0, 2)
        {"side": "chosen", "x": 2.0, "share": 0.5},  # [2, 4]
        {"side": "chosen", "x": 4.0, "share": 0.5},
        {"side": "rejected", "x": 0.0, "share": 0.0},
        {"side": "rejected", "x": 2.0, "share": 1.0},
        {"side": "rejected", "x": 4.0, "share": 1.0},
    ]
    assert reward_bins({"chosen": RewardCounts()}) == []


@pytest.mark.parametrize("prefix", ["", "x_"])
def test_totals_are_those_of_the_files(annotate: Any, prefix: str) -> None:
    annotated = annotate(prefix=prefix, shard_rows=2)
    statistics = annotated.manifest.statistics
    for side, figures in figures_of(annotated).sides.items():
        for name in ("responses", "tokens", "kept_tokens", "segments", "kept_segments"):
            assert getattr(figures, name) == statistics[f"{side}_{name}"], (side, name)
        assert sum(figures.segments_per_response.values()) == 4
        assert figures.kept_shares.sum() == 4
        assert figures.token_rewards.distinct()[1].sum() == figures.tokens


def test_shares_and_numbers_of_segments(annotate: Any) -> None:
    """One segment each, kept whole: all shares are 100 %, which belong into the last bin."""
    figures = figures_of(annotate(mask=MaskConfig(segmenter=Sequence())))
    kept = [point for point in share_bins(figures.sides) if point["share"]]
    assert {(point["side"], point["x"]) for point in kept} == {
        (side, x) for side in ("chosen", "rejected") for x in (0.95, 1.0)
    }
    bins = [(point["x"], point["share"]) for point in segment_bins(figures.sides) if point["side"] == "chosen"]
    assert bins == [(0.0, 0.0), (1.0, 1.0), (2.0, 1.0)]


@pytest.mark.parametrize("segmenter", [Token(), Sequence(), None])
def test_errors_are_those_of_the_paper(annotate: Any, segmenter: Any) -> None:
    """Eq. 12 to 14, response by response, from the columns."""
    mask = MaskConfig() if segmenter is None else MaskConfig(segmenter=segmenter)
    annotated = annotate(mask=mask, shard_rows=2)
    sigma = annotated.manifest.statistics["sigma"]
    sums = np.zeros(3)
    tokens = 0
    for path in sorted((annotated.path / "data").iterdir()):
        for row, side in itertools.product(pq.read_table(path).to_pylist(), ("chosen", "rejected")):
            rewards = np.array(row[f"{side}_token_reward"])
            segments = np.split(rewards, row[f"{side}_seg_start"][1:])
            sums[0] += ((rewards - rewards.mean()) ** 2).sum()
            sums[1] += sigma**2 * rewards.size
            sums[2] += sum(((part - part.mean()) ** 2).sum() + sigma**2 for part in segments)
            tokens += rewards.size
    found = figures_of(annotated).errors
    assert found.tokens == tokens
    assert [found.err_seq, found.err_tok, found.err_seg] == pytest.approx(sums.tolist(), rel=1e-5)
    assert found.per_token()["err_tok"] == pytest.approx(sigma**2)
