"""The baselines b that segment rewards are compared with: settings with their help texts, and how each gives b."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field

from asr_data.errors import ConfigError
from asr_data.settings import Settings, SweepValues
from asr_data.types import Float32, Float64, Int64

if TYPE_CHECKING:
    from asr_data.segments.statistics import RewardStatistics


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """What baselines are computed from: R responses, in row order.

    Attributes:
        rewards: float32 ``[R]``, r_s; NaN where nothing is known of a response.
        group: int64 ``[R]``, the input row of each response; responses to one row are adjacent.
        statistics: of the whole data set, for baselines that need them.
        running: the running average before these responses, None before the first row.
    """

    rewards: Float32
    group: Int64
    statistics: RewardStatistics | None = None
    running: float | None = None


class BaselineSettings(Settings):
    """Base of the baselines: settings, and how they give b."""

    @property
    def needs_statistics(self) -> bool:
        """Whether b needs a pass over the whole data set first."""
        return False

    def values(self, responses: Responses) -> tuple[Float64, float | None]:
        """Return b of every response, float64 ``[R]``, and the running average after them.

        b is NaN where nothing is known that could give it.

        Raises:
            ConfigError: statistics are needed and missing.
        """
        raise NotImplementedError


class PairBaseline(BaselineSettings):
    """Midpoint of the two r_s; a response's own r_s where it has no partner or the partner's is unknown.

    Example:
        asr_data.MaskConfig(baseline=asr_data.PairBaseline())
    """

    kind: Literal["pair"] = "pair"

    def values(self, responses: Responses) -> tuple[Float64, float | None]:
        """See the base class."""
        means, lengths = _group_means(responses.rewards, responses.group)
        return np.repeat(means, lengths), responses.running


class SequenceBaseline(BaselineSettings):
    """This response's own r_s.

    Example:
        asr_data.MaskConfig(baseline=asr_data.SequenceBaseline())
    """

    kind: Literal["sequence"] = "sequence"

    def values(self, responses: Responses) -> tuple[Float64, float | None]:
        """See the base class."""
        return responses.rewards.astype(np.float64), responses.running


class DatasetBaseline(BaselineSettings):
    """A statistic of r_s over all rows.

    Example:
        asr_data.MaskConfig(baseline=asr_data.DatasetBaseline(statistic=0.3))
    """

    kind: Literal["dataset"] = "dataset"
    statistic: Annotated[
        Literal["mean", "median"] | Annotated[float, Field(ge=0, le=1)],
        Field(description="Of the sequence rewards: mean, median, or a quantile from 0 to 1."),
        SweepValues(0.3, "median", 0.7),
    ] = "median"

    @property
    def needs_statistics(self) -> bool:
        """Whether b needs a pass over the whole data set first."""
        return True

    def values(self, responses: Responses) -> tuple[Float64, float | None]:
        """See the base class."""
        if responses.statistics is None:
            raise ConfigError('the baseline "dataset" needs statistics over the whole data set first')
        value = responses.statistics.baseline(self.statistic)
        return np.full(responses.rewards.size, value, dtype=np.float64), responses.running


class RunningBaseline(BaselineSettings):
    """Exponential average of r_s over the earlier rows; the first row uses its own, and unknown rows are passed over.

    Example:
        asr_data.MaskConfig(baseline=asr_data.RunningBaseline(decay=0.9))
    """

    kind: Literal["running"] = "running"
    decay: Annotated[float, Field(gt=0, lt=1, description="Weight of the average so far, at each row.")] = 0.99

    def values(self, responses: Responses) -> tuple[Float64, float | None]:
        """See the base class."""
        means, lengths = _group_means(responses.rewards, responses.group)
        averages, running = _running_averages(means, self.decay, responses.running)
        return np.repeat(averages, lengths), running


class FixedBaseline(BaselineSettings):
    """A number.

    Example:
        asr_data.MaskConfig(baseline=asr_data.FixedBaseline(value=0.5))
    """

    kind: Literal["fixed"] = "fixed"
    value: Annotated[float, Field(description="The value of b.")]

    def values(self, responses: Responses) -> tuple[Float64, float | None]:
        """See the base class."""
        return np.full(responses.rewards.size, self.value, dtype=np.float64), responses.running


BaselineConfig: TypeAlias = Annotated[
    PairBaseline | SequenceBaseline | DatasetBaseline | RunningBaseline | FixedBaseline,
    Field(discriminator="kind"),
]
"""Any of them, told apart by ``kind``."""


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
