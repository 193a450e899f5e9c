"""Masks at settings that are being tried: of the rows in view, and figures of a sample."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np

from asr_data.config import MaskConfig, Schmitt
from asr_data.errors import InputError
from asr_data.evaluation.gold import Gold, find_gold
from asr_data.evaluation.labelled_rows import LabelledRows, load_labelled_at
from asr_data.masks.apply import data_set_statistics, segment_and_mask, span_rewards
from asr_data.masks.baseline import Responses
from asr_data.masks.batch import MaskedBatch, TokenBatch
from asr_data.segments.noise import estimate_sigma_per_row
from asr_data.segments.statistics import RewardStatistics
from asr_data.types import Bool, Float64
from asr_data.view.client.rows import plain_number, plain_numbers
from asr_data.view.server.directories import Viewed
from asr_data.view.server.figures import label_figures, side_figures
from asr_data.view.server.labels import Labels

SAMPLE_ROWS: Final = 200
"""Rows that stand for the data set: for σ, baselines of the data set, the trend, and figures."""
KEPT_PAGES: Final = 8
"""Pages whose tokens stay in memory."""


class Trials:
    """Tries settings on the stored scores of one directory. May be asked by several threads.

    Args:
        viewed: the directory; its settings can be changed.
        labels: those that are being made; they count where the input has none.
    """

    def __init__(self, viewed: Viewed, labels: Labels | None = None) -> None:
        self.viewed, self._labels = viewed, labels
        self._made: tuple[int, LabelledRows | None] = (-1, None)
        self._lock = threading.Lock()
        self._pages: OrderedDict[tuple[int, ...], TokenBatch] = OrderedDict()
        self._statistics: dict[tuple[str, str, bool], RewardStatistics] = {}

    @cached_property
    def positions(self) -> list[int]:
        """The sample."""
        return self.viewed.sample(SAMPLE_ROWS)

    @property
    def is_whole(self) -> bool:
        """Whether the sample is the whole directory, so that masks are exactly those that ``mask`` would make."""
        return len(self.positions) == self.viewed.rows

    def sample(self) -> TokenBatch:
        """The tokens of the sample."""
        with self._lock:
            return self._sample

    @cached_property
    def _sample(self) -> TokenBatch:
        return self._load(self.positions)

    def _load(self, positions: Sequence[int]) -> TokenBatch:
        tokenizer = self.viewed.tokenizer
        if tokenizer is None:
            raise ValueError("there is no tokenizer")
        return load_labelled_at(self.viewed.annotated, positions, tokenizer, None).labelled.batch

    def statistics(self, config: MaskConfig) -> RewardStatistics:
        """Of the sample, at these settings."""
        kind = (config.reward, config.sequence_reward, config.detrend)
        sample = self.sample()
        with self._lock:
            if kind not in self._statistics:
                self._statistics[kind] = data_set_statistics(lambda: [sample], config.without_weights)
            return self._statistics[kind]

    def masked(
        self, positions: Sequence[int], config: MaskConfig, *, rewards: bool = True
    ) -> dict[int, list[dict[str, Any]]]:
        """Position → each side's rewards, segments and mask at these settings, as the page's script takes them.

        Token rewards are left out without ``rewards``: most settings do not change them.

        Raises:
            ConfigError: the settings ask for what the scorer did not give.
        """
        order = sorted(set(positions))
        if not order:
            return {}
        statistics = self.statistics(config)
        batch = self._page(order)
        masked, _ = segment_and_mask(batch, config.without_weights, statistics, self._running(config, statistics))
        baseline, delta = decided(batch, masked, config, statistics, self._running(config, statistics))
        sides = len(self.viewed.annotated.manifest.sides)
        made = [_side(batch, masked, baseline, delta, response) for response in range(masked.reward.size)]
        if rewards:
            for response, side in enumerate(made):
                token = slice(*batch.row_offsets[response : response + 2])
                side["rewards"] = plain_numbers(masked.token_reward[token])
        return {position: made[place * sides : (place + 1) * sides] for place, position in enumerate(order)}

    def figures(self, config: MaskConfig, *, own_labels: bool = False) -> dict[str, Any]:
        """Figures of the sample at these settings, and against the labels that its rows have.

        With ``own_labels`` against those made on the page, even where the input has its own.

        Raises:
            ConfigError: the settings ask for what the scorer did not give.
        """
        statistics, batch = self.statistics(config), self.sample()
        running = self._running(config, statistics)
        masked, _ = segment_and_mask(batch, config.without_weights, statistics, running)
        labelled = self.labelled(own=own_labels)
        return {
            "sigma": plain_number(statistics.sigma()),
            "sample": {"rows": len(self.positions), "of": self.viewed.rows},
            "sides": side_figures(batch, masked, self.viewed.annotated.manifest.sides),
            "labels": None if labelled is None else label_figures(labelled, config, statistics, running),
        }

    def labelled(self, *, own: bool = False) -> LabelledRows | None:
        """The rows of the sample that the input has labels of; else those labelled on the page; None where none is."""
        with self._lock:
            found = None if own else self._of_input
            if found is not None or self._labels is None:
                return found
            version = self._labels.version
            if self._made[0] != version:
                gold = self._labels.gold()
                self._made = version, None if gold is None else self._load_labelled(gold[1], gold[0])
            return self._made[1]

    @cached_property
    def _of_input(self) -> LabelledRows | None:
        gold = find_gold(self.viewed.annotated, self.viewed.gold_name)
        return None if gold is None else self._load_labelled(self.positions, gold)

    def _load_labelled(self, positions: Sequence[int], gold: Gold) -> LabelledRows | None:
        if self.viewed.tokenizer is None:
            return None
        try:
            return load_labelled_at(self.viewed.annotated, positions, self.viewed.tokenizer, gold)
        except InputError:
            return None  # none of these rows has any

    def _page(self, positions: Sequence[int]) -> TokenBatch:
        key = tuple(positions)
        with self._lock:
            if key not in self._pages:
                self._pages[key] = self._load(positions)
                while len(self._pages) > KEPT_PAGES:
                    self._pages.popitem(last=False)
            self._pages.move_to_end(key)
            return self._pages[key]

    def _running(self, config: MaskConfig, statistics: RewardStatistics) -> float | None:
        """The running average depends on all rows before; the mean stands for it."""
        return statistics.baseline("mean") if config.baseline.kind == "running" else None


def decided(
    batch: TokenBatch,
    masked: MaskedBatch,
    config: MaskConfig,
    statistics: RewardStatistics,
    running: float | None = None,
) -> tuple[Float64, Float64]:
    """b and δ of every response, float64 ``[R]``; NaN where there is none."""
    baseline, _ = config.baseline.values(Responses(masked.reward, batch.group, statistics, running))
    delta = np.full(masked.reward.size, np.nan)
    if isinstance(config.segmenter, Schmitt) and config.segmenter.down == 1.0:
        sigma: Any = 0.0
        if config.segmenter.needs_sigma:
            sigma = statistics.sigma()
            if config.noise == "response":
                own = estimate_sigma_per_row(*span_rewards(batch, config.reward))
                sigma = np.where(own > 0, own, sigma)
        delta[:] = config.segmenter.half_width(sigma)
    return baseline, delta


def _side(batch: TokenBatch, masked: MaskedBatch, baseline: Float64, delta: Float64, response: int) -> dict[str, Any]:
    token = slice(*batch.row_offsets[response : response + 2])
    segment = slice(*masked.segment_offsets[response : response + 2])
    return {
        "reward": plain_number(float(masked.reward[response])),
        "b": plain_number(float(baseline[response])),
        "delta": plain_number(float(delta[response])),
        "mask": _bits(masked.mask[token]),
        "starts": masked.segment_start[segment].tolist(),
        "segRewards": plain_numbers(masked.segment_reward[segment]),
        "segKeep": _bits(masked.segment_keep[segment]),
    }


def _bits(flags: Bool) -> str:
    return np.where(flags, b"1", b"0").tobytes().decode()
