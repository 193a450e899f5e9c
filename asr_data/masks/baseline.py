"""The baseline b that segment rewards are compared with."""

from __future__ import annotations

import math

import numpy as np

from asr_data.config import (
    BaselineConfig,
    DatasetBaseline,
    FixedBaseline,
    PairBaseline,
    RunningBaseline,
    SequenceBaseline,
)
from asr_data.errors import ConfigError
from asr_data.segments.statistics import RewardStatistics
from asr_data.types import Float32, Float64, Int64


def baselines(
    config: BaselineConfig,
    sequence_rewards: Float32,
    group: Int64,
    statistics: RewardStatistics | None = None,
    running: float | None = None,
) -> tuple[Float64, float | None]:
    """Return b of every response, float64 ``[R]``, and the running average after them.

    Where r_s is unknown, ``pair`` takes the other side's and ``running`` passes over the row. b is NaN where
    nothing is left that could give it.

    Args:
        config: which baseline.
        sequence_rewards: float32 ``[R]``, r_s; NaN where nothing is known of a response.
        group: int64 ``[R]``, the input row of each response; responses to one row are adjacent.
        statistics: of the whole data set; the ``dataset`` baseline needs them.
        running: the running average before these rows, None before the first row.

    Raises:
        ConfigError: the ``dataset`` baseline without statistics.
    """
    rows = sequence_rewards.size
    match config:
        case FixedBaseline():
            return np.full(rows, config.value, dtype=np.float64), running
        case SequenceBaseline():
            return sequence_rewards.astype(np.float64), running
        case PairBaseline():
            means, lengths = _group_means(sequence_rewards, group)
            return np.repeat(means, lengths), running
        case DatasetBaseline():
            if statistics is None:
                raise ConfigError('the baseline "dataset" needs statistics over the whole data set first')
            return np.full(rows, statistics.baseline(config.statistic), dtype=np.float64), running
        case RunningBaseline():
            means, lengths = _group_means(sequence_rewards, group)
            averages, running = _running_averages(means, config.decay, running)
            return np.repeat(averages, lengths), running


def _group_means(sequence_rewards: Float32, group: Int64) -> tuple[Float64, Int64]:
    """Return each input row's mean known r_s, NaN where it has none, and how many responses it has."""
    changes = np.flatnonzero(group[1:] != group[:-1]) + 1
    begins = np.concatenate(([0], changes))[: group.size]  # no row begins where there is none
    lengths = np.diff(begins, append=group.size)
    if begins.size == 0:
        return np.empty(0, dtype=np.float64), lengths
    known = ~np.isnan(sequence_rewards)
    sums = np.add.reduceat(np.where(known, sequence_rewards, 0.0).astype(np.float64), begins)
    counts = np.add.reduceat(known.astype(np.int64), begins)
    return np.divide(sums, counts, out=np.full(begins.size, np.nan), where=counts > 0), lengths


def _running_averages(means: Float64, decay: float, running: float | None) -> tuple[Float64, float | None]:
    """Return the average before each input row, and the one after the last.

    The first row uses its own mean.
    """
    averages = np.empty_like(means)
    for index, mean in enumerate(means.tolist()):
        before = mean if running is None else running
        averages[index] = before
        if not math.isnan(mean):
            running = decay * before + (1 - decay) * mean
    return averages, running
