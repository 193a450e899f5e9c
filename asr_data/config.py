"""Typed settings. Torch-free; every union is discriminated by ``kind`` so that errors name the field."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# --- segmenters (DESIGN §1; paper eq. 14 and 15) ---------------------------------------------------------


class PivotConfig(_Settings):
    """Cut where the reward jumps: ``abs(r_t - r_{t-1}) > tau``."""

    kind: Literal["pivot"] = "pivot"
    tau: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    k: Annotated[float, Field(gt=0)] = 3.0
    """With ``tau="auto"``: tau is ``k`` robust standard deviations of the first differences."""


class SchmittConfig(_Settings):
    """Cut where a Schmitt trigger around the baseline changes state (paper eq. 15)."""

    kind: Literal["schmitt"] = "schmitt"
    delta: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """Half-width of the dead band."""
    k: Annotated[float, Field(gt=0)] = 1.0
    """With ``delta="auto"``: delta is ``k`` σ, the noise."""


class BoundaryWeights(_Settings):
    """Cost of a cut, as a multiple of ``c²``, by what starts at the token."""

    inside_word: Annotated[float, Field(gt=0)] = 1.0
    word: Annotated[float, Field(gt=0)] = 1.0
    clause: Annotated[float, Field(gt=0)] = 1.0
    sentence: Annotated[float, Field(gt=0)] = 1.0
    line: Annotated[float, Field(gt=0)] = 1.0


class OptimalConfig(_Settings):
    """The exact minimiser of paper eq. 14."""

    kind: Literal["optimal"] = "optimal"
    penalty: Annotated[float, Field(ge=0)] | Literal["paper", "bic"] = "paper"
    """``c²``: ``paper`` is σ², ``bic`` is 2σ² ln n."""
    boundary: BoundaryWeights | None = BoundaryWeights(inside_word=50, word=50, clause=50)
    """Chosen by human spans (docs/evidence.md). None, as a factor of 1 everywhere, lets segments start at any token."""


class StepConfig(_Settings):
    """Step-wise baseline: the scorer's own steps if it has them, else sentence ends and newlines."""

    kind: Literal["step"] = "step"


class TokenConfig(_Settings):
    """Every token is a segment."""

    kind: Literal["token"] = "token"


class SequenceConfig(_Settings):
    """The response is one segment."""

    kind: Literal["sequence"] = "sequence"


SegmenterConfig: TypeAlias = Annotated[
    PivotConfig | SchmittConfig | OptimalConfig | StepConfig | TokenConfig | SequenceConfig,
    Field(discriminator="kind"),
]

# --- baselines -------------------------------------------------------------------------------------------


class FixedBaseline(_Settings):
    """A number."""

    kind: Literal["fixed"] = "fixed"
    value: float


class SequenceBaseline(_Settings):
    """This response's own sequence reward."""

    kind: Literal["sequence"] = "sequence"


class PairBaseline(_Settings):
    """Midpoint of the two sequence rewards; a response without a partner uses its own."""

    kind: Literal["pair"] = "pair"


class DatasetBaseline(_Settings):
    """Mean, median or a quantile of the sequence rewards of all rows."""

    kind: Literal["dataset"] = "dataset"
    statistic: Literal["mean", "median"] | Annotated[float, Field(ge=0, le=1)] = "median"


class RunningBaseline(_Settings):
    """Exponential average of the sequence rewards of earlier rows; the first row uses its own mean."""

    kind: Literal["running"] = "running"
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99


BaselineConfig: TypeAlias = Annotated[
    FixedBaseline | SequenceBaseline | PairBaseline | DatasetBaseline | RunningBaseline,
    Field(discriminator="kind"),
]

# --- masks and scoring -----------------------------------------------------------------------------------


class MaskConfig(_Settings):
    """From token rewards to segments and masks; everything that ``asr-annotate mask`` can redo."""

    segmenter: SegmenterConfig = OptimalConfig()
    baseline: BaselineConfig = PairBaseline()
    reward: Literal["value", "delta"] = "value"
    sequence_reward: Literal["mean", "last", "sum", "scorer"] = "mean"
    segment_reward: Literal["mean", "last"] = "mean"
    noise: Literal["dataset", "response"] = "dataset"
    """Where σ is estimated."""
    on_empty: Literal["keep-all", "keep-best", "drop"] = "keep-all"
    end_token: Literal["keep", "mask", "segment"] = "keep"


class ScoringConfig(_Settings):
    """How the model is run; part of the fingerprint because it can change bits."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    batch_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Padded tokens per batch."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Longest prompt plus response, in scorer tokens; default the model's context."""


class OutputConfig(_Settings):
    """How the output directory is written."""

    shard_rows: Annotated[int, Field(ge=1)] = 10_000
    prefix: str = ""
    """Put before every added column, where an input column has the same name."""
    split: Annotated[str, Field(pattern=r"^\w+(\.\w+)*$")] = "train"
    """Part of the file names."""


class Part(_Settings):
    """One of several jobs that share a data set: its share of the shards is the same wherever it is computed."""

    num_shards: Annotated[int, Field(ge=1)]
    """How many jobs."""
    shard_index: Annotated[int, Field(ge=0)]
    """Which of them, from 0."""

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
