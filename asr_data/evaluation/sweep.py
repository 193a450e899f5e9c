"""Many settings of segments and masks, judged on the same labelled responses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

import numpy as np

from asr_data.config import BaselineConfig, MaskConfig, SegmenterConfig
from asr_data.errors import ConfigError
from asr_data.evaluation.measures import LabelledResponses, measure
from asr_data.masks import MaskedBatch, TokenBatch, segment_and_mask
from asr_data.masks.apply import data_set_statistics
from asr_data.segments.statistics import RewardStatistics
from asr_data.settings import swept
from asr_data.statistics.bootstrap import Measure
from asr_data.types import Bool, Float32

SEGMENTERS: Final[tuple[SegmenterConfig, ...]] = swept(SegmenterConfig)
BASELINES: Final[tuple[BaselineConfig, ...]] = swept(BaselineConfig)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Scored responses with gold labels; the arrays are as in ``LabelledResponses``.

    ``shared``: float32 ``[N]``, 1 where the other answer has the token's words, 0 where it does not, the mean over its
    bytes else; NaN where there is no other answer, and where the token has no text.
    """

    batch: TokenBatch
    faulty: Bool
    known: Bool
    shared: Float32

    def judged(self, masked: MaskedBatch) -> LabelledResponses:
        """The responses with these segments and masks."""
        batch = self.batch
        row = np.repeat(np.arange(batch.preferred.size), np.diff(masked.segment_offsets))
        return LabelledResponses(
            rewards=masked.token_reward,
            row_offsets=batch.row_offsets,
            starts=batch.row_offsets[row] + masked.segment_start,
            segment_reward=masked.segment_reward,
            mask=masked.mask,
            reward=masked.reward,
            preferred=batch.preferred,
            group=batch.group,
            written=batch.written & ~batch.end,
            step_start=batch.step_start,
            faulty=self.faulty,
            known=self.known,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """One setting and its measures, by the names of ``TITLES``."""

    mask: MaskConfig
    measures: dict[str, Measure]


def grid(base: MaskConfig, rewards: Sequence[Literal["value", "delta"]]) -> Iterator[MaskConfig]:
    """Every segmenter with every baseline, kind of token reward and segment reward; all else as ``base`` has it.

    A segment of one token has one reward, so that ``token`` comes with the mean alone. ``sequence`` comes once: it is
    there to compare with.
    """
    for segmenter in SEGMENTERS:
        if segmenter.kind == "sequence":
            yield base.model_copy(update={"segmenter": segmenter})
            continue
        hows = ("mean",) if segmenter.kind == "token" else ("mean", "last")
        for reward, baseline, segment_reward in product(rewards, BASELINES, hows):
            changes = {
                "segmenter": segmenter,
                "reward": reward,
                "baseline": baseline,
                "segment_reward": segment_reward,
            }
            yield base.model_copy(update=changes)


def try_settings(labelled: Labelled, settings: Iterator[MaskConfig], *, tolerance: int = 2) -> Iterator[Setting]:
    """Judge each setting. σ, the trend and the data set's baselines are those of these responses.

    Raises:
        ConfigError: a setting asks for what the scorer did not give.
    """
    batch = labelled.batch
    known: dict[tuple[str, str, bool], RewardStatistics] = {}
    for config in settings:
        kind = (config.reward, config.sequence_reward, config.detrend)
        if kind not in known:
            known[kind] = data_set_statistics(lambda: [batch], config.without_weights)
        masked, _ = segment_and_mask(batch, config.without_weights, known[kind])
        judged = labelled.judged(masked)
        yield Setting(
            config, measure(judged, known[kind].sigma(), tolerance=tolerance, step_reward=config.segment_reward)
        )


def half_of(groups: Sequence[str], seed: int = 0) -> Bool:
    """About half of the groups, bool ``[R]``: by a hash of each, so that a prompt is in one half as a whole."""
    digests = [hashlib.sha256(f"{seed}\0{group}".encode("utf-8", "surrogatepass")).digest() for group in groups]
    return np.array([digest[0] % 2 == 0 for digest in digests], dtype=np.bool_)


def best(settings: Sequence[Setting], by: str, chosen: Bool | None = None) -> Setting:
    """The setting with the highest measure, over the ``chosen`` responses (bool ``[R]``); the first of equals.

    Raises:
        ConfigError: no setting has this measure.
    """
    values = [setting.measures[by].value(chosen) for setting in settings]
    known = [(value, -place) for place, value in enumerate(values) if value is not None]
    if not known:
        raise ConfigError(f"no setting can be judged by {by}: no response has what it needs")
    return settings[-max(known)[1]]
