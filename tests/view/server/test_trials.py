"""Masks at settings that are tried, beside those that ``mask`` writes at the same settings."""

from __future__ import annotations

from typing import Any

import pytest

from asr_data.config import (
    ConfidenceWeights,
    DatasetBaseline,
    FixedBaseline,
    MaskConfig,
    Optimal,
    Pivot,
    Schmitt,
    SegmentWeights,
    Token,
)
from asr_data.errors import ConfigError
from asr_data.view.model import row_views
from asr_data.view.reading import first_rows
from asr_data.view.server.directories import Viewed
from asr_data.view.server.trials import Trials

SETTINGS = [
    MaskConfig(),
    MaskConfig(segmenter=Schmitt(k=0.5), noise="response"),
    MaskConfig(segmenter=Pivot(tau=0.3), baseline=DatasetBaseline(statistic=0.4), on_empty="keep-best"),
    MaskConfig(segmenter=Token(), detrend=True, end_token="segment"),  # noqa: S106
    MaskConfig(
        segmenter=Optimal(penalty="bic", boundary=None), segment_reward="last", baseline=FixedBaseline(value=0.1)
    ),
]


@pytest.mark.parametrize("config", SETTINGS)
def test_masks_are_those_that_would_be_written(annotate: Any, make_tokenizer: Any, config: MaskConfig) -> None:
    written = annotate(mask=config, shard_rows=2)
    trials = Trials(Viewed(annotate(shard_rows=2), "x", make_tokenizer(), None))
    assert trials.is_whole
    found = trials.masked([3, 0, 2, 1], config)
    rows = first_rows(written, 9)
    views = row_views(written, rows)
    for row, view in zip(rows, views, strict=True):
        for side, response in zip(found[row.position], view.responses, strict=True):
            columns = {name: row.columns[f"{response.side}_{name}"] for name in ("mask", "seg_start", "seg_keep")}
            assert [bit == "1" for bit in side["mask"]] == columns["mask"]
            assert side["starts"] == columns["seg_start"]
            assert [bit == "1" for bit in side["segKeep"]] == columns["seg_keep"]
            assert side["segRewards"] == pytest.approx(row.columns[f"{response.side}_seg_reward"], rel=1e-5)
            assert side["rewards"] == pytest.approx(row.columns[f"{response.side}_token_reward"], rel=1e-5)
            assert side["b"] == pytest.approx(response.decision.baseline, rel=1e-5, abs=1e-6)
            delta = response.decision.delta
            assert side["delta"] == (None if delta is None else pytest.approx(delta, rel=1e-5))
    assert "rewards" not in trials.masked([0], config, rewards=False)[0][0]
    assert trials.masked([], config) == {}


def test_weights_change_no_mask(annotate: Any, make_tokenizer: Any) -> None:
    trials = Trials(Viewed(annotate(), "x", make_tokenizer(), None))
    for weights in (SegmentWeights(), ConfidenceWeights()):  # neither needs what it would need to write a column
        weighted = MaskConfig(weights=weights)
        assert trials.masked([0, 2], weighted) == trials.masked([0, 2], MaskConfig())
        assert trials.figures(weighted) == trials.figures(MaskConfig())


def test_figures_are_those_of_the_manifest(annotate: Any, make_tokenizer: Any) -> None:
    config = MaskConfig(segmenter=Schmitt(k=0.5))
    statistics = annotate(mask=config).manifest.statistics
    found = Trials(Viewed(annotate(), "x", make_tokenizer(), None)).figures(config)
    assert found["sample"] == {"rows": 4, "of": 4}
    assert found["sigma"] == pytest.approx(statistics["sigma"], rel=1e-5)
    assert found["labels"] is None
    for side in found["sides"]:
        name = side["side"]
        assert side["kept"] == pytest.approx(statistics[f"{name}_kept_tokens"] / statistics[f"{name}_tokens"])
        assert side["segments"] == pytest.approx(statistics[f"{name}_segments"] / statistics[f"{name}_responses"])
        for number, share in enumerate(side["fifths"], 1):
            kept, whole = (statistics[f"{name}_fifth{number}_{what}"] for what in ("kept_tokens", "tokens"))
            assert share == pytest.approx(kept / whole)


def test_measures_against_labels_are_those_of_evaluate(annotate: Any, make_tokenizer: Any, pairs: Any) -> None:
    from asr_data.evaluation import GoldOptions, evaluate

    faults = [[{"start": 0, "end": 5}], [], [{"start": 1, "end": 9}], None, [{"start": 0, "end": 2}]]
    rows = [{**row, "faults": found} for row, found in zip(pairs, faults, strict=True)]
    config = MaskConfig(segmenter=Schmitt(k=0.5))
    written = annotate(rows, config)
    options = GoldOptions(gold="rejected=faults", resamples=1000)
    expected = evaluate(written.path, make_tokenizer(), options=options)
    trials = Trials(Viewed(annotate(rows), "x", make_tokenizer(), "rejected=faults"))
    found = trials.figures(config)["labels"]
    assert found["rows"] == expected.evaluated.rows
    for one in found["measures"]:
        estimate = expected.estimates[one["name"]]
        assert one["value"] == pytest.approx(estimate.value, abs=1e-6), one["name"]
        assert (one["low"], one["high"]) == pytest.approx((estimate.low, estimate.high), abs=1e-6)
        for control, value in one["controls"].items():
            assert value == pytest.approx(expected.controls[control][one["name"]].value, abs=1e-6)


def test_what_the_scorer_did_not_give(annotate: Any, make_tokenizer: Any) -> None:
    trials = Trials(Viewed(annotate(), "x", make_tokenizer(), None))
    with pytest.raises(ConfigError, match="value at the end of the prompt"):
        trials.masked([0], MaskConfig(reward="delta"))
