"""The segmenters: settings with their help texts, and the rule that each stands for (paper eq. 14 and 15).

A segmenter is declared here and nowhere else. The command line, its help, the sweep and the tables of docs/segments.md
follow from the fields; the kernels are imported when a segmenter cuts. The same rules in torch, for rewards made while
training, are in ``asr_data.losses.online_segments``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asr_data.segments.context import SplitContext, per_row
from asr_data.settings import MultipleOf, Settings, SweepValues
from asr_data.types import Float32, Float64, Int64

NotNegative: TypeAlias = Annotated[float, Field(ge=0)]
Number = TypeVar("Number", float, Float64)
Positive: TypeAlias = Annotated[float, Field(gt=0)]


class SegmenterSettings(Settings):
    """Base of the segmenters: settings and a rule."""

    sigma_setting: ClassVar[str] = ""
    """The setting that may follow from the noise σ, where it is a word and not a number."""

    @property
    def needs_sigma(self) -> bool:
        """Whether the noise σ decides, at these settings."""
        return isinstance(getattr(self, self.sigma_setting, None), str)

    def starts(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        raise NotImplementedError


class Sequence(SegmenterSettings):
    """The response is one segment.

    Example:
        asr_data.MaskConfig(segmenter=asr_data.Sequence())
    """

    kind: Literal["sequence"] = "sequence"

    def starts(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:  # noqa: ARG002 - the protocol
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        return row_offsets[:-1][row_offsets[:-1] < row_offsets[1:]]


class Token(SegmenterSettings):
    """Every token is a segment.

    Example:
        asr_data.MaskConfig(segmenter=asr_data.Token())
    """

    kind: Literal["token"] = "token"

    def starts(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:  # noqa: ARG002 - the protocol
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        return np.arange(values.size, dtype=np.int64)


class Step(SegmenterSettings):
    """The step-wise baseline: the scorer's own steps; where it has none, sentence ends and newlines.

    Example:
        asr_data.MaskConfig(segmenter=asr_data.Step(), baseline=asr_data.SequenceBaseline())
    """

    kind: Literal["step"] = "step"

    def starts(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:
        """Return the flat segment starts, int64; see ``asr_data.split``.

        Raises:
            ConfigError: the context does not say where steps start.
        """
        from asr_data.segments.step import step_starts

        return step_starts(context.step_start, values.shape, row_offsets)


class Fixed(SegmenterSettings):
    """Runs of a fixed number of tokens: the n-gram macro actions of MA-RLHF (arXiv 2410.02743), and a control.

    Example:
        asr_data.split([0.1, 0.2, 0.9], [0, 3], asr_data.Fixed(length=2))  # [0, 2]
    """

    kind: Literal["fixed"] = "fixed"
    length: Annotated[int, Field(ge=1, description="Tokens in a segment."), SweepValues(5, 25)] = 5

    def starts(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:  # noqa: ARG002 - the protocol
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        from asr_data.segments.fixed import fixed_starts

        return fixed_starts(row_offsets, self.length)


class RewardSegmenter(SegmenterSettings):
    """Base of the segmenters that look at the rewards, as they are or smoothed."""

    smooth: Annotated[
        Positive | None,
        Field(
            description="Place cuts on the rewards after a Kalman smoother (local-level model): X is the variance of "
            "the level's change from token to token, relative to that of the noise; smaller is smoother.",
            exclude_if=lambda value: value is None,
        ),
        SweepValues(None, 0.1),
    ] = None

    def starts(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        if self.smooth is not None:
            from asr_data.segments.smoothing import smoothed

            sigma = context.sigmas(values, row_offsets) if self.needs_sigma else 0.0  # of the rewards as they are
            context = replace(context, sigma=sigma)
            values = smoothed(values, row_offsets, self.smooth)
        return self._cut(values, row_offsets, context)

    def _cut(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:
        raise NotImplementedError


class Pivot(RewardSegmenter):
    """Cut before token t where the reward jumps: |r_t − r_(t−1)| > τ.

    Example:
        asr_data.split([0.0, 0.1, 0.9], [0, 3], asr_data.Pivot(tau=0.5))  # [0, 2]
    """

    sigma_setting: ClassVar[str] = "tau"

    kind: Literal["pivot"] = "pivot"
    tau: Annotated[
        NotNegative | Literal["auto"],
        Field(description="Threshold τ of a jump; auto:K is K robust standard deviations of the jumps, K √2 σ."),
    ] = "auto"
    k: Annotated[Positive, Field(description="The factor of auto."), MultipleOf("tau"), SweepValues(3.0, 5.0)] = 3.0

    def _cut(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:
        from asr_data.segments.pivot import pivot_starts

        if self.tau == "auto":
            return pivot_starts(values, row_offsets, self.k * math.sqrt(2) * context.sigmas(values, row_offsets))
        return pivot_starts(values, row_offsets, per_row("tau", self.tau, row_offsets.size - 1))


class Schmitt(RewardSegmenter):
    """Cut where a Schmitt trigger around the baseline b changes state (paper, eq. 15).

    r_t > b + δ is good, r_t < b − δ is bad, between them the previous state holds; a segment is a run of one state.
    Leading neutral tokens take the first decided state, and a response without a decided token is one segment.

    Example:
        b = asr_data.SplitContext(baseline=0.5)
        asr_data.split([0.9, 0.55, 0.1, 0.2], [0, 4], asr_data.Schmitt(delta=0.1), b)  # [0, 2]
    """

    sigma_setting: ClassVar[str] = "delta"

    kind: Literal["schmitt"] = "schmitt"
    delta: Annotated[
        NotNegative | Literal["auto"],
        Field(description="Half-width δ of the dead band around the baseline; auto:K is K times the noise σ."),
    ] = "auto"
    k: Annotated[
        Positive, Field(description="The factor of auto."), MultipleOf("delta"), SweepValues(0.5, 1.0, 2.0, 4.0, 8.0)
    ] = 1.0
    down: Annotated[
        NotNegative,
        Field(
            description="Hysteresis with a different lower threshold: bad is r_t < b − X δ.",
            exclude_if=lambda value: value == 1.0,
        ),
        SweepValues(1.0, 2.0),
    ] = 1.0

    def _cut(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:
        from asr_data.segments.schmitt import schmitt_starts

        baseline = context.baselines(row_offsets.size - 1)
        none = np.zeros(baseline.size)
        delta = self.half_width(context.sigmas(values, row_offsets) if self.needs_sigma else none)
        return schmitt_starts(values, row_offsets, baseline - self.down * delta, baseline + delta)

    def half_width(self, sigma: Number) -> float | Number:
        """Return δ for a noise σ, one number or one per row."""
        return self.k * sigma if self.delta == "auto" else self.delta


class BoundaryWeights(Settings):
    """What a cut costs, as a multiple of c², by what starts at the token."""

    inside_word: Positive = 1.0
    word: Positive = 1.0
    clause: Positive = 1.0
    sentence: Positive = 1.0
    line: Positive = 1.0

    def of(self, kinds: NDArray[np.int8]) -> Float64:
        """Return float64 ``[N]``: what a cut costs before each token, from what starts there."""
        return np.array([self.inside_word, self.word, self.clause, self.sentence, self.line], dtype=np.float64)[kinds]


_AT_SENTENCES = BoundaryWeights(inside_word=50, word=50, clause=50)
_GRADED = BoundaryWeights(inside_word=50, word=10, clause=3)


class Optimal(RewardSegmenter):
    """The exact minimum of Σ_k Σ_(t in k) (r_t − mean_k)² + c² · K (paper, eq. 14).

    The defaults were chosen by human spans (docs/evidence.md).

    Example:
        asr_data.split([1, 1, 1, 5, 5], [0, 5], asr_data.Optimal(penalty=0.5))  # [0, 3]
    """

    sigma_setting: ClassVar[str] = "penalty"

    kind: Literal["optimal"] = "optimal"
    penalty: Annotated[
        NotNegative | Literal["paper", "bic"],
        Field(description="Cost c² of a segment; paper is σ², bic is 2σ² ln n."),
        SweepValues("paper", "bic"),
    ] = "paper"
    boundary: Annotated[
        BoundaryWeights | None,
        Field(
            description="Factor on the cost of a cut, by what starts there: inside-word, word, clause, sentence or "
            "line; 1 where none is given."
        ),
        SweepValues(BoundaryWeights(), _GRADED, _AT_SENTENCES),
    ] = _AT_SENTENCES
    """None, as a factor of 1 everywhere, lets segments start at any token."""

    def _cut(self, values: Float32, row_offsets: Int64, context: SplitContext) -> Int64:
        from asr_data.segments.optimal import named_penalties, optimal_starts

        if isinstance(self.penalty, str):
            penalties = named_penalties(self.penalty, context.sigmas(values, row_offsets), row_offsets)
        else:
            penalties = per_row("penalty", self.penalty, row_offsets.size - 1)
        weights = None
        if self.boundary is not None and context.boundary is not None:
            weights = self.boundary.of(context.boundary)
        return optimal_starts(values, row_offsets, penalties, weights)


SegmenterConfig: TypeAlias = Annotated[
    Sequence | Token | Step | Fixed | Pivot | Schmitt | Optimal, Field(discriminator="kind")
]
"""Any of them, told apart by ``kind``; from the plainest to the most adaptive."""
