"""What the built-in model's segments and masks are worth at the default settings, beside position and diff."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from asr_data.config import MaskConfig, SequenceBaseline
from asr_data.evaluation.controls import control_measures
from asr_data.evaluation.labelled_rows import GoldOptions, LabelledRows, load_labelled
from asr_data.evaluation.sweep import try_settings
from asr_data.masks.apply import token_rewards
from asr_data.masks.positions import KeptByPosition, kept_by_position
from asr_data.statistics.bootstrap import Estimate, GroupBootstrap, Measure
from asr_data.storage import open_output
from asr_data.types import Bool
from examples.paper.data import judged
from examples.paper.experiment import as_masked
from examples.signals.data import DataSet
from examples.signals.measure import AUROC, CONTROLS, FEWEST, MASKS, SIDES
from examples.signals.tables import plain, signed, table

OWN, DETRENDED = "built-in", "without its trend"
DEFAULT: Final = MaskConfig(baseline=SequenceBaseline())
"""What ``run`` does without ``--model``: the built-in model knows the verdict, so a response's own mean parts it."""
WITHOUT_TREND: Final = DEFAULT.model_copy(update={"detrend": True})
"""Masks that do not look at position."""


@dataclass(frozen=True, slots=True)
class Worth:
    """One side of one data set, on the groups that are judged.

    Attributes:
        title: for tables.
        figures: by measure and by what was measured: the model, the model with position regressed out, each control.
        ahead: by measure and control, how much better the model is, paired.
        kept: kept tokens by fifth of the response, with the same settings and ``WITHOUT_TREND``.
    """

    title: str
    figures: dict[str, dict[str, Estimate]]
    ahead: dict[str, dict[str, Estimate]]
    kept: dict[str, KeptByPosition]


def worth(directory: Path, data: DataSet) -> Iterator[Worth]:
    """Each side on which there is something to find, at the default settings and at ``WITHOUT_TREND``."""
    annotated = open_output(directory)
    rows = load_labelled(annotated, None, GoldOptions(gold=data.gold, group="group"))
    settings = [DEFAULT, WITHOUT_TREND]
    own, detrended = (setting.measures for setting in try_settings(rows.labelled, iter(settings)))
    controls = control_measures(rows.labelled, token_rewards(rows.labelled.batch, "value"), DEFAULT)
    made = {OWN: own, DETRENDED: detrended, **controls}
    masked = {name: as_masked(rows.labelled, one) for name, one in zip((OWN, DETRENDED), settings, strict=True)}
    for side in SIDES:
        mine = rows.labelled.batch.preferred == (side == "chosen")
        mine &= np.array([judged(json.loads(group)) for group in rows.groups])
        if own[AUROC].of(mine).items >= FEWEST:
            kept = {
                name: kept_by_position(one.mask, one.written, one.row_offsets, mine) for name, one in masked.items()
            }
            yield _of(f"{data.title}, {side}", made, mine, rows, kept)


def _of(
    title: str, made: dict[str, dict[str, Measure]], mine: Bool, rows: LabelledRows, kept: dict[str, KeptByPosition]
) -> Worth:
    bootstrap = GroupBootstrap([group for group, taken in zip(rows.groups, mine, strict=True) if taken])
    controls: list[str] = [name for name in CONTROLS if name in made]
    figures, ahead = {}, {}
    for measure in (AUROC, MASKS):
        of = {name: measures[measure].of(mine) for name, measures in made.items()}
        figures[measure] = {name: bootstrap.estimate(one) for name, one in of.items()}
        ahead[measure] = {name: bootstrap.difference(of[OWN], of[name]) for name in controls}
    return Worth(title, figures, ahead, kept)


def worth_table(found: Sequence[Worth], measure: str) -> str:
    """Sides of data sets by row: the model, position, diff, chance and the differences; what is behind comes first."""

    def behind(one: Worth) -> float:
        return min((gap.low for gap in one.ahead[measure].values() if gap.low is not None), default=-1.0)

    rows = []
    for one in sorted(found, key=behind):
        figures, ahead = one.figures[measure], one.ahead[measure]
        cells = [plain(figures[name]) if name in figures else "–" for name in (OWN, DETRENDED, *CONTROLS, "chance")]
        gaps = [signed(ahead.get(name)) for name in CONTROLS]
        rows.append([f"{one.title} ({figures[OWN].items})", *cells, *gaps])
    return table(["", OWN, DETRENDED, *CONTROLS, "chance", *(f"− {name}" for name in CONTROLS)], rows)


def kept_table(found: Sequence[Worth]) -> str:
    """Kept share by fifth of the response."""
    rows = [
        [f"{one.title}, {name}", *("–" if share is None else f"{share:.2f}" for share in kept.shares)]
        for one in found
        for name, kept in one.kept.items()
    ]
    return table(["kept share of fifth", "1", "2", "3", "4", "5"], rows)
