"""The online rule against the offline columns, which were tested by hand."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from asr_data.config import (
    BaselineConfig,
    BoundaryWeights,
    Fixed,
    FixedBaseline,
    MaskConfig,
    Optimal,
    PairBaseline,
    Pivot,
    Schmitt,
    SegmenterConfig,
    Sequence,
    SequenceBaseline,
    Step,
    Token,
)
from asr_data.errors import ConfigError
from asr_data.losses import adaptive_mask
from asr_data.losses.online_segments import sigma_of
from asr_data.masks.apply import segment_and_mask, span_rewards
from asr_data.masks.batch import TokenBatch
from asr_data.segments.rewards import round_bfloat16
from asr_data.segments.statistics import RewardStatistics

SEGMENTERS: list[SegmenterConfig] = [
    Schmitt(delta=0.3),
    Schmitt(),
    Schmitt(k=2),
    Schmitt(delta=0.2, down=3),
    Schmitt(smooth=0.1),
    Pivot(tau=0.3, smooth=0.5),
    Optimal(penalty=0.05, smooth=0.02),
    Pivot(tau=0.8),
    Pivot(),
    Pivot(k=1.5),
    Optimal(penalty=0.5),
    Optimal(penalty=0.0),
    Optimal(penalty="bic", boundary=None),
    Optimal(),
    Optimal(penalty=0.4, boundary=BoundaryWeights(inside_word=3, clause=0.5, sentence=0.25, line=0.1)),
    Step(),
    Fixed(length=7),
    Token(),
    Sequence(),
]
BASELINES: list[BaselineConfig] = [SequenceBaseline(), PairBaseline(), FixedBaseline(value=0.1)]


def random_batch(seed: int, rows: int = 12, longest: int = 60) -> tuple[TokenBatch, dict[str, torch.Tensor]]:
    """The same ragged responses, flat and padded on both sides."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, rows)
    width = int(lengths.max()) + 4
    flat, valid = [], np.zeros((rows, width), dtype=bool)
    for r, n in enumerate(lengths):
        levels = rng.normal(0, 1, n // 8 + 1).repeat(8)[:n]
        flat.append(levels + rng.normal(0, 0.2, n))
        first = rng.integers(0, width - n + 1)
        valid[r, first : first + n] = True
    values = round_bfloat16(np.concatenate(flat).astype(np.float32))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    end = np.zeros(len(values), dtype=bool)
    end[offsets[1:] - 1] = rng.random(rows) < 0.7
    written = (rng.random(len(values)) < 0.9) | end
    step = rng.random(len(values)) < 0.2
    group = np.arange(rows) // 2
    batch = TokenBatch(
        values=values,
        row_offsets=offsets.astype(np.int64),
        written=written,
        end=end,
        preferred=np.arange(rows) % 2 == 0,
        group=group,
        boundary=rng.integers(0, 5, len(values)).astype(np.int8),
        step_start=step,
        initial=np.full(rows, np.nan, dtype=np.float32),
        scorer_reward=np.full(rows, np.nan, dtype=np.float32),
    )
    padded = {"valid": torch.from_numpy(valid), "preferred": torch.from_numpy(batch.preferred)}
    columns = {"rewards": values, "written": written, "end": end, "step_start": step, "boundary": batch.boundary}
    for name, column in columns.items():
        full = np.zeros((rows, width), dtype=column.dtype)
        full[valid] = column
        padded[name] = torch.from_numpy(full)
    return batch, {**padded, "group": torch.from_numpy(group)}


@pytest.mark.parametrize("segmenter", SEGMENTERS, ids=repr)
@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.kind)
def test_equal_to_the_columns(segmenter: SegmenterConfig, baseline: BaselineConfig) -> None:
    for seed in range(6):
        batch, padded = random_batch(seed)
        settings: dict[str, Any] = {
            "on_empty": ("keep-all", "keep-best")[seed % 2],
            "end_token": ("keep", "mask", "segment")[seed % 3],
            "sequence_reward": ("mean", "last", "sum")[seed // 2],
            "segment_reward": ("mean", "last")[seed // 3],
        }
        config = MaskConfig(segmenter=segmenter, baseline=baseline, noise="response", **settings)
        expected, _ = segment_and_mask(batch, config)
        mask = adaptive_mask(**padded, segmenter=segmenter, baseline=baseline, **settings)
        assert np.array_equal(mask[padded["valid"]].numpy(), expected.mask), (seed, settings)
        assert not mask[~padded["valid"]].any()


def test_names_and_numbers_are_short_for_settings() -> None:
    _, padded = random_batch(0)
    same: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"segmenter": Schmitt(), "baseline": SequenceBaseline()}),
        ({"segmenter": "optimal", "baseline": "pair"}, {"segmenter": Optimal(), "baseline": PairBaseline()}),
        ({"baseline": 0.25}, {"baseline": FixedBaseline(value=0.25)}),
        ({"baseline": torch.full((12,), 0.25)}, {"baseline": FixedBaseline(value=0.25)}),
    ]
    for short, full in same:
        assert torch.equal(adaptive_mask(**padded, **short), adaptive_mask(**padded, **full))


def test_without_a_text_a_cut_costs_the_same_everywhere() -> None:
    _, padded = random_batch(1)
    known = padded.pop("boundary")
    plain = adaptive_mask(**padded, segmenter=Optimal(boundary=None))
    assert torch.equal(adaptive_mask(**padded, segmenter=Optimal()), plain)
    assert not torch.equal(adaptive_mask(**padded, boundary=known, segmenter=Optimal()), plain)


@pytest.mark.parametrize("segmenter", [Schmitt(), Pivot(k=1.5), Optimal(penalty="bic")], ids=repr)
def test_a_given_sigma_is_the_one_of_the_data_set(segmenter: SegmenterConfig) -> None:
    for seed in range(4):
        batch, padded = random_batch(seed)
        statistics = RewardStatistics()
        statistics.add(*span_rewards(batch, "value"), np.zeros(0, dtype=np.float32))
        expected, _ = segment_and_mask(batch, MaskConfig(segmenter=segmenter), statistics)
        for sigma in (statistics.sigma(), torch.full((12,), statistics.sigma(), dtype=torch.float64)):
            mask = adaptive_mask(**padded, segmenter=segmenter, baseline="pair", sigma=sigma)
            assert np.array_equal(mask[padded["valid"]].numpy(), expected.mask)


def test_sigma_is_of_changes_of_rewards_that_are_not_rounded() -> None:
    # Far from 0 all round to 9,984; each said twice, and changes of 1, −2, 1, 2: median 1, deviations 0, 3, 0, 1.
    rewards = torch.tensor([[10000.0, 10001, 9999, 10000, 10002]]).repeat_interleave(2, dim=1)
    assert sigma_of(rewards[0]) == pytest.approx(1.4826 * 0.5 / 2**0.5)
    assert sigma_of(torch.tensor([1.0, 0, 0, 1, 1, 0])) == pytest.approx(1.4826 / 2**0.5)
    assert sigma_of(torch.tensor([1.0, 1.0])) == sigma_of(torch.tensor([1.0])) == 0.0


def test_drop_masks_all_of_an_empty_response() -> None:
    rewards = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    valid = torch.ones(2, 2, dtype=torch.bool)
    end = torch.tensor([[False, True], [False, True]])
    preferred = torch.tensor([False, False])
    mask = adaptive_mask(rewards, valid, preferred, segmenter="token", baseline=0.0, end=end, on_empty="drop")
    assert mask.tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"valid": torch.zeros(2, 2, dtype=torch.bool)}, "response 0 has no valid token"),
        ({"rewards": torch.tensor([[1.0, float("nan")], [0, 0]])}, "rewards holds numbers"),
        ({"preferred": torch.tensor([1, 0])}, "preferred is torch.int64"),
        ({"baseline": "pair"}, "needs group"),
        ({"segmenter": "step"}, "needs step_start"),
        ({"boundary": torch.ones(2, 2)}, "boundary is torch.float32"),
        ({"boundary": torch.tensor([[0, 5], [0, 0]])}, "from 0 .inside a word. to 4"),
        ({"sigma": -1.0}, "sigma must be at least 0"),
        ({"sigma": float("nan")}, "sigma must be finite"),
        ({"baseline": "dataset"}, 'baseline "dataset" depends on other responses'),
        ({"sequence_reward": "scorer"}, "allowed here are mean, last, sum"),
        ({"baseline": torch.zeros(3)}, "one per response"),
    ],
)
def test_wrong_input(changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "rewards": torch.ones(2, 2),
        "valid": torch.ones(2, 2, dtype=torch.bool),
        "preferred": torch.tensor([True, False]),
    }
    with pytest.raises(ValueError, match=message):
        adaptive_mask(**{**given, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"segmenter": "wave"}, "MaskConfig.segmenter is 'wave': expected .*\"schmitt\""),
        ({"segmenter": {"kind": "schmitt", "delta": "bic"}}, "MaskConfig.segmenter.delta is 'bic': .* or \"auto\""),
        ({"on_empty": "keep"}, 'MaskConfig.on_empty is \'keep\': expected "keep-all", "keep-best" or "drop"'),
        ({"baseline": "mean"}, "MaskConfig.baseline is 'mean': expected \"pair\", .*FixedBaseline"),
    ],
)
def test_wrong_settings(changed: dict[str, Any], message: str) -> None:
    rewards, valid, preferred = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), torch.tensor([True])
    with pytest.raises(ConfigError, match=message):
        adaptive_mask(rewards, valid, preferred, **changed)


@pytest.mark.parametrize("segmenter", [Schmitt(delta=0.3), Optimal(penalty=0.05, boundary=None), Token()], ids=repr)
@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.kind)
def test_a_trend_is_taken_away_as_off_line(segmenter: SegmenterConfig, baseline: BaselineConfig) -> None:
    trend = np.linspace(1.5, -0.75, 20) ** 3
    for seed in range(6):
        batch, padded = random_batch(seed)
        how: Literal["mean", "last"] = ("mean", "last")[seed % 2]  # type: ignore[assignment] # one of the two
        config = MaskConfig(segmenter=segmenter, baseline=baseline, sequence_reward=how, detrend=True)
        expected, _ = segment_and_mask(batch, config, RewardStatistics(trend=trend))
        options: dict[str, Any] = {"segmenter": segmenter, "baseline": baseline, "sequence_reward": how}
        mask = adaptive_mask(**padded, **options, detrend=torch.from_numpy(trend))
        assert np.array_equal(mask[padded["valid"]].numpy(), expected.mask), seed
        plain = adaptive_mask(**padded, **options)
        assert not torch.equal(mask, plain), seed


@pytest.mark.parametrize("trend", [torch.zeros(1), torch.zeros(2, 2), torch.tensor([0.0, float("nan")])])
def test_trends_that_cannot_be(trend: torch.Tensor) -> None:
    _, padded = random_batch(0)
    with pytest.raises(ValueError, match="must be at least two finite numbers"):
        adaptive_mask(**padded, segmenter="token", detrend=trend)
