"""Controls to read every figure beside: the same figure for rewards made without a model.

Each control is rewards over the same tokens, cut and masked by the directory's own segmenter, baseline and other
settings; σ and baselines are estimated anew from the control's rewards. So that numbers in settings (a threshold, a
baseline) mean the same, a control's rewards are scaled to the mean and standard deviation of the scorer's. Tokens that
the scorer does not know, a control does not know either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from asr_data.config import MaskConfig
from asr_data.evaluation.measures import FINDINGS, findings
from asr_data.evaluation.sweep import Labelled
from asr_data.masks.apply import response_rewards, segment_and_mask, span_rewards
from asr_data.masks.batch import TokenBatch
from asr_data.segments.positions import relative_position
from asr_data.segments.statistics import RewardStatistics
from asr_data.statistics.bootstrap import Measure
from asr_data.types import Bool, Float32, Float64

CONTROLS: Final[dict[str, str]] = {
    "position": "later is worse",
    "diff": "words that the other answer has",
    "chance": "rewards shuffled within the response, verdicts of pairs drawn",
}
"""Every control and what it is."""

SHUFFLES: Final = 10
"""Shuffles whose mean is the control ``chance``."""


def control_measures(
    labelled: Labelled, rewards: Float32, config: MaskConfig, *, tolerance: int = 2, seed: int = 0
) -> dict[str, dict[str, Measure]]:
    """The measures of ``FINDINGS`` of every control; ``diff`` is missing where no response has another answer.

    Args:
        labelled: responses with gold labels; N tokens.
        rewards: float32 ``[N]``, the scorer's token rewards r_t as masks were made of them; NaN where unknown.
        config: the settings of segments and masks.
        tolerance: as in ``measure``.
        seed: of the shuffles.
    """
    batch = labelled.batch
    text = batch.written & ~batch.end
    known = ~np.isnan(rewards)
    found = {"position": _scaled(-relative_position(np.ones_like(text), batch.row_offsets), rewards, known)}
    if not np.isnan(labelled.shared[known]).all():
        found["diff"] = _scaled(labelled.shared.astype(np.float64), rewards, known)
    measures = {name: _measured(labelled, own, config, tolerance) for name, own in found.items()}
    # No shuffle within a response changes what it is worth as a whole: the verdict itself is drawn.
    paired = measures["position"]["pairs_outcome"].whole
    drawn = {name: Measure(paired / 2, paired) for name in FINDINGS if name.startswith("pairs_")}
    generator = np.random.default_rng(seed)
    shuffled = [
        _measured(labelled, _shuffled(batch, rewards, known & text, generator), config, tolerance)
        for _ in range(SHUFFLES)
    ]
    chance = {name: drawn.get(name) or _mean([one[name] for one in shuffled]) for name in FINDINGS}
    return {**measures, "chance": chance}


def _scaled(control: Float64, rewards: Float32, known: Bool) -> Float32:
    """A control with the mean and standard deviation of the rewards, where both are known."""
    both = known & ~np.isnan(control)
    given, own = rewards[both].astype(np.float64), control[both]
    spread = float(own.std()) if own.size else 0.0
    scale = float(given.std()) / spread if spread > 0 and given.std() > 0 else 1.0
    out = np.full(control.size, np.nan, dtype=np.float32)
    if own.size:
        out[both] = (own - own.mean()) * scale + given.mean()
    return out


def _shuffled(batch: TokenBatch, rewards: Float32, movable: Bool, generator: np.random.Generator) -> Float32:
    place = np.flatnonzero(movable)
    row = np.searchsorted(batch.row_offsets, place, side="right")
    out = rewards.copy()
    out[place] = rewards[place[np.lexsort((generator.random(place.size), row))]]
    return out


def _measured(labelled: Labelled, rewards: Float32, config: MaskConfig, tolerance: int) -> dict[str, Measure]:
    """Cut and mask these rewards as the scorer's would be, and measure what they find."""
    # They are what the settings make of a scorer's answer, increments or without a trend: neither must be done again.
    how = "mean" if config.sequence_reward == "scorer" else config.sequence_reward
    own = config.without_weights.model_copy(update={"reward": "value", "sequence_reward": how, "detrend": False})
    batch = replace(labelled.batch, values=rewards, span_reward=None, span_offsets=None)
    statistics = RewardStatistics()
    statistics.add(*span_rewards(batch, "value"), response_rewards(batch, rewards, own.sequence_reward))
    masked, _ = segment_and_mask(batch, own, statistics)
    return findings(labelled.judged(masked), tolerance=tolerance, step_reward=own.segment_reward)


def _mean(measures: list[Measure]) -> Measure:
    """Of the same figure over several shuffles: the mean of parts over the mean of wholes."""
    return Measure(
        np.mean([one.part for one in measures], axis=0),
        np.mean([one.whole for one in measures], axis=0),
    )


def of_side(measures: Mapping[str, Measure], chosen: Bool) -> dict[str, Measure]:
    """The measures over the ``chosen`` responses, bool ``[R]``; those of pairs are left as they are."""
    return {
        name: one if name.startswith("pairs_") else Measure(one.part * chosen, one.whole * chosen)
        for name, one in measures.items()
    }
