"""Typed settings of a run. Torch-free and numba-free; unions are told apart by ``kind``.

Segmenters and baselines are settings with a rule; they live with it and are named here too.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from asr_data.masks.baseline import (
    BaselineConfig,
    DatasetBaseline,
    FixedBaseline,
    PairBaseline,
    RunningBaseline,
    SequenceBaseline,
)
from asr_data.masks.weights import (
    ConfidenceWeights,
    SegmentWeights,
    ShareWeights,
    SoftWeights,
    UniformWeights,
    WeightConfig,
)
from asr_data.segments.segmenters import (
    BoundaryWeights,
    Fixed,
    Optimal,
    Pivot,
    Schmitt,
    SegmenterConfig,
    Sequence,
    Step,
    Token,
)
from asr_data.settings import Settings

__all__ = [
    "MaskConfig",
    "ScoringConfig",
    "OutputConfig",
    "Part",
    "SegmenterConfig",
    "Schmitt",
    "Optimal",
    "BoundaryWeights",
    "Pivot",
    "Step",
    "Fixed",
    "Token",
    "Sequence",
    "BaselineConfig",
    "PairBaseline",
    "SequenceBaseline",
    "DatasetBaseline",
    "RunningBaseline",
    "FixedBaseline",
    "WeightConfig",
    "UniformWeights",
    "SegmentWeights",
    "SoftWeights",
    "ShareWeights",
    "ConfidenceWeights",
]


def _named(given: object) -> object:
    """``"schmitt"`` is short for ``Schmitt()``."""
    return {"kind": given} if isinstance(given, str) else given


def _number_or_named(given: object) -> object:
    """``0.5`` is short for ``FixedBaseline(value=0.5)``, ``"pair"`` for ``PairBaseline()``."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return {"kind": "fixed", "value": given}
    return _named(given)


def _is_keep(unknown: object) -> bool:
    """The default is left out of dumps, so that runs of earlier versions stay what they are."""
    return unknown == "keep"


def _is_uniform(weights: WeightConfig) -> bool:
    """Left out of dumps for the same reason."""
    return weights.kind == "mask"


class MaskConfig(Settings):
    """From token rewards to segments and masks; everything that ``asr-annotate mask`` can redo.

    Example:
        asr_data.MaskConfig(segmenter=asr_data.Schmitt(delta=0.1), baseline=asr_data.DatasetBaseline(statistic=0.3))
    """

    segmenter: Annotated[SegmenterConfig, BeforeValidator(_named), Field(description="Where responses are cut.")] = (
        Optimal()
    )
    baseline: Annotated[
        BaselineConfig,
        BeforeValidator(_number_or_named),
        Field(description="What a segment's reward is compared with."),
    ] = PairBaseline()
    reward: Annotated[
        Literal["value", "delta"],
        Field(description="value takes the model's values as they are; delta takes what each token adds."),
    ] = "value"
    sequence_reward: Annotated[
        Literal["mean", "last", "sum", "scorer"],
        Field(description="A response's reward, from its token rewards or the reward model's own."),
    ] = "mean"
    segment_reward: Annotated[Literal["mean", "last"], Field(description="A segment's reward, from its tokens.")] = (
        "mean"
    )
    noise: Annotated[
        Literal["dataset", "response"],
        Field(description="Whether the noise σ is estimated over the data set or over each response."),
    ] = "dataset"
    detrend: Annotated[
        bool,
        Field(
            description="First subtract the data set's mean reward at the same relative position from every token "
            "reward.",
            exclude_if=lambda value: not value,
        ),
    ] = False
    on_empty: Annotated[
        Literal["keep-all", "keep-best", "drop"],
        Field(description="A response with nothing kept: keep it whole, keep its best segment, or drop the row."),
    ] = "keep-all"
    end_token: Annotated[
        Literal["keep", "mask", "segment"],
        Field(description="End-of-turn tokens: always trained on, never, or like the segment they end."),
    ] = "keep"
    unknown: Annotated[
        Literal["keep", "drop"],
        Field(
            description="A response with no known reward: train on all of it or on none of it.",
            exclude_if=_is_keep,
        ),
    ] = "keep"
    weights: Annotated[
        WeightConfig,
        BeforeValidator(_named),
        Field(description="What each kept token counts in a loss.", exclude_if=_is_uniform),
    ] = UniformWeights()

    @property
    def has_weights(self) -> bool:
        """Whether ``S_weight`` is written."""
        return not _is_uniform(self.weights)

    @property
    def without_weights(self) -> MaskConfig:
        """The same masks, where only they matter."""
        return self.model_copy(update={"weights": UniformWeights()})

    @model_validator(mode="after")
    def _fits(self) -> MaskConfig:
        if self.detrend and self.sequence_reward == "scorer":
            raise ValueError(
                "detrend takes what is usual at a position from token rewards, and the reward model's own sequence "
                "score has no position: sequence_reward must be mean, last or sum"
            )
        return self


class ScoringConfig(Settings):
    """How the model is run; part of the fingerprint because it can change bits."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    batch_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Padded tokens per batch."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Longest prompt plus response, in scorer tokens; default the model's context."""
    device_map: Annotated[
        Literal["auto"] | dict[str, int | str] | None, Field(exclude_if=lambda devices: devices is None)
    ] = None
    """Parts of the model → devices, in place of ``device``; see :mod:`asr_data.scoring.spread`."""


class OutputConfig(Settings):
    """How the output directory is written."""

    shard_rows: Annotated[int, Field(ge=1)] = 10_000
    prefix: str = ""
    """Prefix of every added column, where an input column has the same name."""
    split: Annotated[str, Field(pattern=r"^\w+(\.\w+)*$")] = "train"
    """Part of the file names."""


class Part(Settings):
    """One of several jobs that share a data set: its share of the shards is the same wherever it is computed."""

    num_shards: Annotated[int, Field(ge=1)]
    """Number of jobs."""
    shard_index: Annotated[int, Field(ge=0)]
    """Index of this job, from 0."""

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Part:
        if self.shard_index >= self.num_shards:
            raise ValueError(
                f"shard_index is {self.shard_index}, but of {self.num_shards} jobs the last one is "
                f"{self.num_shards - 1}"
            )
        return self

    def files(self, total: int) -> range:
        """Which of an output's ``total`` files this job makes: consecutive ones, shares as equal as can be."""
        return range(total * self.shard_index // self.num_shards, total * (self.shard_index + 1) // self.num_shards)
