"""The measurements: what each setting is worth on the prompts that figures are from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np

from asr_data import segments
from asr_data.config import (
    BoundaryWeights,
    DatasetBaseline,
    MaskConfig,
    Optimal,
    PairBaseline,
    Pivot,
    Schmitt,
    SegmenterConfig,
    SequenceBaseline,
    Step,
    Token,
)
from asr_data.evaluation.labelled_rows import GoldOptions, load_labelled
from asr_data.evaluation.measures import LabelledResponses
from asr_data.evaluation.sweep import Labelled, Setting, try_settings
from asr_data.masks.apply import data_set_statistics, segment_and_mask
from asr_data.segments.rewards import segment_rewards
from asr_data.statistics.bootstrap import Estimate, GroupBootstrap, Measure
from asr_data.storage import open_output
from asr_data.types import Bool
from examples.paper.data import judged
from examples.signals.data import DataSet
from examples.signals.measure import FEWEST, SIDES

AT_SENTENCES: Final = BoundaryWeights(inside_word=50, word=50, clause=50)
SEGMENTERS: Final[dict[str, SegmenterConfig]] = {
    "token": Token(),
    "step": Step(),
    "sequence": segments.Sequence(),
    "pivot, τ = 3 sd": Pivot(),
    "schmitt, δ = σ": Schmitt(),
    "schmitt, δ = 2σ": Schmitt(k=2),
    "optimal, c² = σ²": Optimal(boundary=None),
    "optimal, c² = 2σ² ln n": Optimal(penalty="bic", boundary=None),
    "optimal, weights, c² = σ²": Optimal(boundary=AT_SENTENCES),
    "optimal, weights, c² = 2σ² ln n": Optimal(penalty="bic", boundary=AT_SENTENCES),
}
"""By name; weights: 50 everywhere but at sentences and lines."""
CHOSEN: Final = "optimal, weights, c² = σ²"
"""The default settings since this experiment."""
BASELINES: Final = (SequenceBaseline(), PairBaseline(), DatasetBaseline(statistic=0.3))
PLAIN: Final = ("token", "step", "sequence")


@dataclass(frozen=True, slots=True)
class Part:
    """Responses to some of the prompts, and the draws of their bootstrap."""

    responses: Bool
    bootstrap: GroupBootstrap

    def of(self, measure: Measure) -> Measure:
        """The measure over these responses."""
        return measure.of(self.responses)

    def estimate(self, measure: Measure) -> Estimate:
        """The figure and its interval."""
        return self.bootstrap.estimate(self.of(measure))

    def difference(self, first: Measure, second: Measure) -> Estimate:
        """``first − second``, paired."""
        return self.bootstrap.difference(self.of(first), self.of(second))


@dataclass(frozen=True, slots=True)
class Scored:
    """A data set with a scorer's rewards.

    Attributes:
        data: which.
        scorer: which.
        side: ``chosen`` or ``rejected``; None for both together.
        labelled: its responses.
        choosing, judging: the responses of the groups that settings are chosen on, and of the others; ``choosing`` is
            None where there are judged groups alone.
        by_name: the settings of ``SEGMENTERS``, at the response's own mean as baseline.
        everything: ``combinations``, for the built-in scorer.
    """

    data: DataSet
    scorer: str
    side: str | None
    labelled: Labelled
    choosing: Part | None
    judging: Part
    by_name: dict[str, Setting]
    everything: list[Setting]

    @property
    def title(self) -> str:
        """For tables."""
        side = "" if self.side is None else f", {self.side}"
        return f"{self.data.title}{side}, {self.scorer}"


def measured(directory: Path, data: DataSet, scorer: str) -> tuple[Scored, list[Scored]]:
    """All settings on one directory: both sides together, and each side with faults to be found."""
    rows = load_labelled(open_output(directory), None, GoldOptions(gold=data.gold or None, group="group"))
    mine = np.array([judged(json.loads(group)) for group in rows.groups])
    base = MaskConfig(baseline=SequenceBaseline(), sequence_reward="scorer" if scorer == "implicit" else "mean")
    named = [base.model_copy(update={"segmenter": one}) for one in SEGMENTERS.values()]
    if scorer == "implicit":  # its own sequence reward is a sum, and no baseline for a mean
        named = [one.model_copy(update={"sequence_reward": "mean"}) for one in named]
    tried = list(try_settings(rows.labelled, iter([base, *named])))
    everything = list(try_settings(rows.labelled, combinations() if scorer == "builtin" and data.gold else iter(())))
    by_name = {"own": tried[0], **dict(zip(SEGMENTERS, tried[1:], strict=True))}

    def of(side: str | None, taken: Bool) -> Scored:
        choosing = _part(taken & ~mine, rows.groups) if (taken & ~mine).any() else None
        return Scored(
            data, scorer, side, rows.labelled, choosing, _part(taken & mine, rows.groups), by_name, everything
        )

    preferred = rows.labelled.batch.preferred
    both = by_name["own"].measures["segment_auroc"].whole > 0 if data.gold else np.zeros_like(mine)
    taken = {side: preferred == (side == "chosen") for side in SIDES}
    sides = [of(side, one) for side, one in taken.items() if (one & mine & both).sum() >= FEWEST]
    return of(None, np.ones_like(mine)), sides


def combinations() -> Iterator[MaskConfig]:
    """Segmenters with baselines, segment rewards and detrending on values; and the first of each on increments."""
    adaptive = [one for name, one in SEGMENTERS.items() if name not in PLAIN]
    for segmenter, baseline, (how, detrend) in product((Step(), *adaptive), BASELINES, _VALUES):
        yield MaskConfig(segmenter=segmenter, baseline=baseline, segment_reward=how, detrend=detrend)  # type: ignore[arg-type]
    for segmenter in (Token(), *adaptive):
        yield MaskConfig(segmenter=segmenter, baseline=BASELINES[0], reward="delta")


_VALUES: Final = (("mean", False), ("mean", True), ("last", False))


def _part(responses: Bool, groups: Sequence[str]) -> Part:
    chosen = [group for group, take in zip(groups, responses, strict=True) if take]
    return Part(responses, GroupBootstrap(chosen))


def variances(scored: Scored) -> dict[str, float]:
    """Variance of the rewards of all tokens, steps, segments and responses that figures are from (paper, Figure 3)."""
    found: dict[str, float] = {}
    for name in ("token", "step", "schmitt, δ = σ", CHOSEN, "sequence"):
        one = as_masked(scored.labelled, scored.by_name[name].mask)
        row = np.searchsorted(one.row_offsets, one.starts, side="right") - 1
        rewards = segment_rewards(one.rewards, one.row_offsets, one.starts, "mean")
        found[name] = float(np.nanvar(rewards[scored.judging.responses[row]]))
    return found


def as_masked(labelled: Labelled, mask: MaskConfig) -> LabelledResponses:
    """The responses with segments and masks made by these settings."""
    batch = labelled.batch
    return labelled.judged(segment_and_mask(batch, mask, data_set_statistics(lambda: [batch], mask))[0])
