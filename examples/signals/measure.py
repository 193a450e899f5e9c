"""What a signal finds: each segmenter on each side of a data set, beside the controls with the same segmenter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from asr_data.config import Fixed, MaskConfig, Optimal, Schmitt, SegmenterConfig, SequenceBaseline, Step, Token
from asr_data.evaluation.controls import control_measures
from asr_data.evaluation.labelled_rows import GoldOptions, LabelledRows, load_labelled
from asr_data.evaluation.sweep import half_of, try_settings
from asr_data.masks.apply import token_rewards
from asr_data.statistics.bootstrap import Estimate, GroupBootstrap, Measure
from asr_data.storage import open_output
from asr_data.types import Bool
from examples.signals.data import DataSet, was_held_out
from examples.signals.signals import Signal

SEGMENTERS: Final[Mapping[str, SegmenterConfig]] = {
    "token": Token(),
    "step": Step(),
    "fixed": Fixed(length=10),
    "schmitt": Schmitt(),
    "optimal": Optimal(),
}
AUROC, MASKS = "segment_auroc", "balanced_accuracy"
SIDES: Final = ("rejected", "chosen")
CONTROLS: Final = ("position", "diff")
FEWEST: Final = 10
"""Responses below which a figure is not shown: its interval says nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of the bench, on the half of the groups that is judged.

    Attributes:
        choosing: the figure on the other half, by which settings are chosen; None where nothing counts there.
        estimate: the figure, with its interval over groups.
        ahead: by control, how much better than it, paired.
    """

    data: str
    signal: str
    side: str
    segmenter: str
    measure: str
    choosing: float | None
    estimate: Estimate
    ahead: Mapping[str, Estimate]


def findings(directory: Path, data: DataSet, signal: Signal) -> Iterator[Finding]:
    """Every segmenter, side and measure of one annotated directory; and of the controls, with their names for signals.

    Controls are measured on the tokens that the signal scored, so that they are compared on the same text. A trained
    signal is measured on the groups that its training held out.
    """
    rows = load_labelled(open_output(directory), None, GoldOptions(gold=data.gold, group="group"))
    choosing = half_of(rows.groups)
    values = token_rewards(rows.labelled.batch, "value")
    preferred = rows.labelled.batch.preferred
    scored = np.logical_or.reduceat(~np.isnan(values), rows.labelled.batch.row_offsets[:-1])
    if signal.trained:
        scored &= np.array([was_held_out(data, json.loads(group)) for group in rows.groups])
    for name, segmenter in SEGMENTERS.items():
        config = MaskConfig(segmenter=segmenter, baseline=SequenceBaseline())
        (setting,) = try_settings(rows.labelled, iter([config]))
        made = {signal.name: setting.measures, **control_measures(rows.labelled, values, config)}
        for side in SIDES:
            of = scored & (preferred == (side == "chosen"))
            if (of & ~choosing).any():
                yield from _of_side(rows, made, of & choosing, of & ~choosing, (data.name, side, name), signal.name)


def _of_side(
    rows: LabelledRows,
    made: Mapping[str, Mapping[str, Measure]],
    choosing: Bool,
    judged: Bool,
    names: tuple[str, str, str],
    signal: str,
) -> Iterator[Finding]:
    data, side, segmenter = names
    bootstrap = GroupBootstrap([group for group, mine in zip(rows.groups, judged, strict=True) if mine])
    for maker, measures in made.items():
        for measure in (AUROC, MASKS):
            own = measures[measure].of(judged)
            ahead = {
                control: bootstrap.difference(own, made[control][measure].of(judged))
                for control in CONTROLS
                if maker == signal and control in made
            }
            estimate = bootstrap.estimate(own)
            yield Finding(data, maker, side, segmenter, measure, measures[measure].value(choosing), estimate, ahead)
