"""Figures of settings that are being tried, over a sample: segments, kept shares, and measures against labels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from asr_data.config import MaskConfig
from asr_data.errors import InputError
from asr_data.evaluation.controls import control_measures
from asr_data.evaluation.labelled_rows import LabelledRows
from asr_data.evaluation.measures import FINDINGS, TITLES, measure
from asr_data.masks.apply import segment_and_mask
from asr_data.masks.batch import MaskedBatch, TokenBatch
from asr_data.masks.positions import kept_by_position
from asr_data.ragged import row_sums
from asr_data.segments.statistics import RewardStatistics
from asr_data.statistics.bootstrap import Estimate, GroupBootstrap
from asr_data.types import Side

RESAMPLES: Final = 1000


def side_figures(batch: TokenBatch, masked: MaskedBatch, sides: tuple[Side, ...]) -> list[dict[str, Any]]:
    """For each side, over the responses of a batch: segments, kept share of all tokens and by fifth, empty masks."""
    text = batch.written & ~batch.end
    place = np.arange(batch.preferred.size) % len(sides)
    segments, kept, tokens = (
        np.diff(masked.segment_offsets),
        row_sums(masked.mask, batch.row_offsets),
        np.diff(batch.row_offsets),
    )
    found = []
    for number, side in enumerate(sides):
        mine = place == number
        fifths = kept_by_position(masked.mask, text, batch.row_offsets, mine)
        found.append(
            {
                "side": side,
                "responses": int(mine.sum()),
                "segments": float(segments[mine].mean()) if mine.any() else None,
                "kept": float(kept[mine].sum() / tokens[mine].sum()) if mine.any() else None,
                "fifths": list(fifths.shares),
                "auroc": fifths.auroc,
                "suspect": fifths.is_suspect,
                "empty": int(masked.empty[mine].sum()),
            }
        )
    return found


def label_figures(
    loaded: LabelledRows, config: MaskConfig, statistics: RewardStatistics, running: float | None = None
) -> dict[str, Any]:
    """The measures of ``evaluate`` that need labels or pairs, with their intervals, beside those of the controls.

    Args:
        loaded: rows with labels.
        config: the settings that are tried.
        statistics: of the data set.
        running: the running baseline before these rows.

    Raises:
        InputError: there is no row.
    """
    if not loaded.groups:
        raise InputError("there is no labelled row")
    masked, _ = segment_and_mask(loaded.labelled.batch, config.without_weights, statistics, running)
    judged = loaded.labelled.judged(masked)
    own = measure(judged, statistics.sigma(), step_reward=config.segment_reward)
    beside = control_measures(loaded.labelled, masked.token_reward, config)
    bootstrap = GroupBootstrap(loaded.groups, RESAMPLES)
    return {
        "rows": loaded.evaluated.rows,
        "groups": loaded.evaluated.groups,
        "gold": loaded.evaluated.gold,
        "faulty": loaded.evaluated.faulty_tokens,
        "labelled": loaded.evaluated.labelled_tokens,
        "measures": [
            {
                "name": name,
                "title": TITLES[name],
                **_estimate(bootstrap.estimate(own[name])),
                "controls": {control: beside[control][name].value() for control in beside},
            }
            for name in FINDINGS
        ],
    }


def _estimate(found: Estimate) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high, "items": found.items}
