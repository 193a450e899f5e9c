"""Weights worked out by hand, rule by rule; and what holds for all of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.config import ConfidenceWeights, MaskConfig, SegmentWeights, ShareWeights, SoftWeights
from asr_data.errors import ConfigError
from asr_data.masks.apply import data_set_statistics, needs_statistics, segment_and_mask
from asr_data.segments.statistics import RewardStatistics
from tests.masks.test_apply import batch_of, config

RULES = [{"kind": "segment"}, {"kind": "soft"}, {"kind": "share", "share": 0.4}, {"kind": "confidence"}]
# Segments of rewards above and below 0, the baseline; the last token of each row ends the turn.
PAIR = batch_of([2, 2, -1, 4, 4], [-3, -3, 1, -1, -1], preferred=[True, False])


def weights_of(batch, rule, **more):
    chosen = config({"kind": "schmitt", "delta": 0.0}, weights=rule, **more)
    masked, _ = segment_and_mask(batch, chosen, data_set_statistics(lambda: [batch], chosen))
    assert masked.weight is not None
    assert masked.weight.dtype == np.float32
    return masked.weight.tolist(), masked


def test_no_rule_is_no_column_and_no_setting_in_a_dump() -> None:
    masked, _ = segment_and_mask(PAIR, config())
    assert masked.weight is None
    assert "weights" not in MaskConfig().model_dump()
    assert MaskConfig.model_validate(MaskConfig(weights=SegmentWeights()).model_dump()).weights == SegmentWeights()


def test_segment_is_the_distance_by_its_mean_over_the_data_set() -> None:
    # Kept: 2, 2, 4 and the rejected -3, -3, -1; the end token is kept by --end-token keep. Mean distance: 15 / 6.
    weights, _ = weights_of(PAIR, {"kind": "segment"})
    assert weights == pytest.approx([2 / 2.5, 2 / 2.5, 0, 4 / 2.5, 1, 3 / 2.5, 3 / 2.5, 0, 1 / 2.5, 1])
    found = data_set_statistics(lambda: [PAIR], config({"kind": "schmitt", "delta": 0.0}, weights="segment"))
    assert found.mean_distance == 2.5
    assert needs_statistics(config(weights="segment"))
    assert not needs_statistics(config(weights="soft"))
    assert weights_of(PAIR, {"kind": "segment"}, end_token="mask")[0][4::5] == [0, 0]  # noqa: S106 - no secret


def test_what_on_empty_keeps_has_weight_1_and_what_it_drops_no_part_in_the_mean() -> None:
    # The third response has nothing that agrees; its partner's distances are 1 and 1.
    batch = batch_of([2] * 3, [-4] * 3, [-1] * 3, [-1] * 3, preferred=[True, False] * 2, group=[0, 0, 1, 1])
    weights, masked = weights_of(batch, {"kind": "segment"})
    assert masked.empty.tolist() == [False, False, True, False]
    mean = (2 * 2 + 2 * 4 + 2 * 1) / 6
    assert weights == pytest.approx([2 / mean, 2 / mean, 1, 4 / mean, 4 / mean, 1, 1, 1, 1, 1 / mean, 1 / mean, 1])
    dropped, _ = weights_of(batch, {"kind": "segment"}, on_empty="drop")
    assert dropped[:6] == pytest.approx([2 / 3, 2 / 3, 1, 4 / 3, 4 / 3, 1])


def test_a_response_at_a_distance_of_0_counts_as_masks_do() -> None:
    # r_s is the baseline: one segment, whose distance is 0, of a rejected response.
    batch = batch_of([3, 1, 2], preferred=[False], ends=False)
    chosen = config({"kind": "sequence"}, {"kind": "sequence"}, weights="segment")
    masked, _ = segment_and_mask(batch, chosen, data_set_statistics(lambda: [batch], chosen))
    assert masked.weight.tolist() == [1, 1, 1]


def test_soft_has_its_signs_and_bounds() -> None:
    weights, _ = weights_of(PAIR, {"kind": "soft", "low": -2.0, "high": 3.0})
    e = np.exp
    assert weights == pytest.approx([e(2), e(2), 0, e(3), 1, e(2), e(2), 0, e(1), 1], rel=1e-6)


def test_share_takes_what_speaks_most_for_the_verdict() -> None:
    # Three kept tokens a side: one of three, the first of equal ones, and the end token, which is always kept.
    assert weights_of(PAIR, {"kind": "share", "share": 0.3})[0] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    assert weights_of(PAIR, {"kind": "share", "share": 0.5})[0] == [1, 0, 0, 1, 1, 1, 1, 0, 0, 1]
    assert weights_of(PAIR, {"kind": "share", "share": 1.0})[0] == [1, 1, 0, 1, 1, 1, 1, 0, 1, 1]


@pytest.mark.parametrize("count", range(1, 200))
def test_a_share_rounds_up_and_not_by_the_last_bit(count: int) -> None:
    batch = batch_of(np.arange(1, count + 1), preferred=[True], ends=False)
    chosen = config(weights={"kind": "share", "share": 0.1})
    masked, _ = segment_and_mask(batch, chosen)
    assert masked.weight.sum() == -(-count // 10)


def test_confidence_is_below_the_mean_probability() -> None:
    logps = np.log(np.array([0.9, 0.1, 0.5, 0.4, 0.6, 0.2, 0.2, 0.2, 0.2, 0.2]), dtype=np.float32)
    batch = replace(PAIR, reference=logps.astype(np.float32))
    # Chosen: mean 0.5, over all tokens of the response. Rejected: all at the mean.
    assert weights_of(batch, {"kind": "confidence"})[0] == [0, 1, 0, 1, 1, 1, 1, 0, 1, 1]
    unknown = np.where(np.arange(10) < 5, logps, np.nan).astype(np.float32)
    assert weights_of(replace(PAIR, reference=unknown), {"kind": "confidence"})[0][5:] == [1, 1, 0, 1, 1]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ConfigError, match=r"S_ref_logp.*--logprobs"):
        segment_and_mask(PAIR, config(weights="confidence"))
    with pytest.raises(ConfigError, match="mean distance over the whole data set"):
        segment_and_mask(PAIR, config(weights="segment"), RewardStatistics())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ShareWeights(share=0.0), r"share is 0.0: expected a finite number > 0 and <= 1"),
        (lambda: ShareWeights(share=1.5), r"expected a finite number > 0 and <= 1"),
        (lambda: ShareWeights(share=float("nan")), r"expected a finite number"),
        (lambda: SoftWeights(low=2.0), "low must be below high"),
        (lambda: SoftWeights(high=1e6), r"expected a finite number >= -20 and <= 20"),
        (lambda: MaskConfig(weights="loud"), 'expected "mask", "segment", "soft"'),
        (lambda: MaskConfig(weights=ConfidenceWeights(share=1)), "is not a setting"),
    ],
)
def test_wrong_settings(build, message) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


@settings(max_examples=60, deadline=None)
@given(
    rule=st.sampled_from(RULES),
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    seed=st.integers(0, 1000),
    on_empty=st.sampled_from(["keep-all", "keep-best", "drop"]),
    end_token=st.sampled_from(["keep", "mask", "segment"]),
    unknown=st.floats(0, 0.5),
)
def test_weights_fit_masks(rule, lengths, seed, on_empty, end_token, unknown) -> None:
    draw = np.random.default_rng(seed)
    lengths = lengths[: len(lengths) // 2 * 2]
    rows = [draw.integers(-3, 4, n).astype(float) for n in lengths]
    rows = [np.where(draw.random(len(row)) < unknown, np.nan, row) for row in rows]
    batch = batch_of(*rows, preferred=[True, False] * (len(rows) // 2), group=np.arange(len(rows)) // 2)
    batch = replace(batch, reference=-draw.random(batch.values.size).astype(np.float32))
    chosen = config({"kind": "schmitt", "delta": 0.5}, weights=rule, on_empty=on_empty, end_token=end_token)
    statistics = data_set_statistics(lambda: [batch], chosen)
    masked, _ = segment_and_mask(batch, chosen, statistics)
    plain, _ = segment_and_mask(batch, chosen.without_weights, statistics)
    weight = masked.weight
    assert np.array_equal(masked.mask, plain.mask)
    assert np.isfinite(weight).all()
    assert (weight >= 0).all()
    assert not weight[~masked.mask].any()
    offsets = batch.row_offsets
    for first, last in pairwise(offsets):
        assert weight[first:last].any() == masked.mask[first:last].any()
    if rule["kind"] == "segment" and on_empty != "drop" and masked.mask.any():
        assert weight.sum() == pytest.approx(masked.mask.sum(), rel=1e-5)  # mean 1 over the kept tokens


def test_the_mean_does_not_depend_on_the_batches() -> None:
    draw = np.random.default_rng(3)
    rows = [draw.normal(size=9) for _ in range(40)]
    chosen = config({"kind": "schmitt", "delta": 0.0}, {"kind": "running", "decay": 0.5}, weights="segment")

    def batches(size):
        for first in range(0, 40, size):
            part = rows[first : first + size]
            yield batch_of(*part, preferred=[True, False] * (size // 2), group=np.arange(first, first + size) // 2)

    means = {data_set_statistics(lambda size=size: batches(size), chosen).mean_distance for size in (2, 4, 10, 40)}
    assert len(means) == 1
