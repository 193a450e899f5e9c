"""Weights of the tokens that a mask keeps: settings with their help texts, and the rule that each stands for.

A weight multiplies a token's own term in a loss. It is 0 where the mask is false, and finite and not negative
everywhere. Tokens that are kept whatever their reward is have the weight 1: end-of-turn tokens at ``end_token="keep"``,
and tokens of which nothing is known. So has a response of which a rule would leave nothing. The same rules in torch,
for rewards made while training, are in ``asr_data.losses.online_weights``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from asr_data.errors import ConfigError
from asr_data.settings import Settings
from asr_data.types import Bool, Float32, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class WeightedTokens:
    """What weights are computed from; N tokens of R responses.

    Attributes:
        kept: bool ``[N]``, the mask.
        free: bool ``[N]``, kept tokens without those that ``end_token="keep"`` keeps whatever their reward is.
        aligned: bool ``[N]``, free tokens whose segment is on its verdict's side, without what ``on_empty`` and
            ``unknown`` keep.
        own: bool ``[N]``, tokens that the assistant wrote, its end-of-turn tokens among them.
        token_reward: float32 ``[N]``, r_t; NaN where unknown.
        distance: float64 ``[N]``, how far the segment's reward is from b on the verdict's side; at least 0 where
            ``aligned``.
        preferred: bool ``[N]``, the verdict over the token's response.
        row: int64 ``[N]``, the response, ascending.
        reference: float32 ``[N]``, log π_ref in nats; NaN where unknown, None where there is no reference.
    """

    kept: Bool
    free: Bool
    aligned: Bool
    own: Bool
    token_reward: Float32
    distance: Float64
    preferred: Bool
    row: Int64
    reference: Float32 | None = None

    @property
    def agreement(self) -> Float32:
        """Float32 ``[N]``, how much each token's reward speaks for the verdict: r_t, or −r_t for a rejected one."""
        return np.where(self.preferred, self.token_reward, -self.token_reward)


class WeightSettings(Settings):
    """Base of the rules: settings, and how they give weights."""

    @property
    def needs_statistics(self) -> bool:
        """Whether the rule needs a pass over the whole data set first."""
        return False

    @property
    def needs_reference(self) -> bool:
        """Whether the rule needs the reference's log-probabilities."""
        return False

    @property
    def is_mask(self) -> bool:
        """Whether all weights are 0 or 1, so that masks say the same."""
        return False

    def values(self, tokens: WeightedTokens, mean_distance: float | None) -> Float64:
        """Return the weights of free tokens, float64 ``[N]``; NaN where the rule says nothing of a token.

        Args:
            tokens: the tokens of a batch of responses.
            mean_distance: the mean of :func:`counted_distances` over the data set, where ``needs_statistics``.

        Raises:
            ConfigError: what the rule needs is missing.
        """
        raise NotImplementedError


class UniformWeights(WeightSettings):
    """1 for every kept token (paper, eq. 8); no column is written.

    Example:
        asr_data.MaskConfig(weights=asr_data.UniformWeights())
    """

    kind: Literal["mask"] = "mask"

    @property
    def is_mask(self) -> bool:
        """All are 0 or 1."""
        return True

    def values(self, tokens: WeightedTokens, mean_distance: float | None) -> Float64:  # noqa: ARG002 - the protocol
        """See the base class."""
        return np.ones(tokens.kept.size)


class SegmentWeights(WeightSettings):
    """How far its segment's reward is from b on the verdict's side, by the data set's mean of that over kept tokens.

    Example:
        asr_data.MaskConfig(weights=asr_data.SegmentWeights())
    """

    kind: Literal["segment"] = "segment"

    @property
    def needs_statistics(self) -> bool:
        """The mean is over the whole data set."""
        return True

    def values(self, tokens: WeightedTokens, mean_distance: float | None) -> Float64:
        """See the base class."""
        if mean_distance is None:
            raise ConfigError('the weights "segment" need the mean distance over the whole data set first')
        found = counted_distances(tokens)
        return found / mean_distance if mean_distance > 0 else np.full_like(found, np.nan)


class SoftWeights(WeightSettings):
    """exp(±r_t) with r_t between two bounds, + for a preferred response and − for any other (TIS-DPO).

    For rewards around 0, such as differences of log-probabilities. Source: arXiv 2410.04350 (TIS-DPO): weights by the
    difference of two contrastive models' log-probabilities, lower where a token speaks against its verdict (its
    abstract). The bounds are those that it is reported to use; they, and its constant factors, which are 1 here, could
    not be checked against its text.

    Example:
        asr_data.MaskConfig(weights=asr_data.SoftWeights(low=-1.0, high=1.0))
    """

    kind: Literal["soft"] = "soft"
    low: Annotated[float, Field(ge=-20, le=20, description="A lower token reward counts as this.")] = -0.5
    high: Annotated[float, Field(ge=-20, le=20, description="A higher token reward counts as this.")] = 1.5

    @model_validator(mode="after")
    def _is_range(self) -> SoftWeights:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}: low must be below high")
        return self

    def values(self, tokens: WeightedTokens, mean_distance: float | None) -> Float64:  # noqa: ARG002 - the protocol
        """See the base class."""
        bounded = np.clip(tokens.token_reward.astype(np.float64), self.low, self.high)
        return np.exp(np.where(tokens.preferred, bounded, -bounded))


class ShareWeights(WeightSettings):
    """1 for this share of a response's kept tokens, those that speak most for the verdict; 0 for the others.

    At least one token of a response; of equal ones, the first. Source: SePO (arXiv 2408.13518) takes the highest of
    chosen and the lowest of rejected responses, 30 % in its main results (both in its abstract); Rho-1 does so by the
    excess loss, which is no reward of ours.

    Example:
        asr_data.MaskConfig(weights=asr_data.ShareWeights(share=0.3))
    """

    kind: Literal["share"] = "share"
    share: Annotated[float, Field(gt=0, le=1, description="Of the kept tokens of each response.")]

    @property
    def is_mask(self) -> bool:
        """All are 0 or 1."""
        return True

    def values(self, tokens: WeightedTokens, mean_distance: float | None) -> Float64:  # noqa: ARG002 - the protocol
        """See the base class."""
        weights = np.full(tokens.kept.size, np.nan)
        among = np.flatnonzero(tokens.free & ~np.isnan(tokens.token_reward))
        row = tokens.row[among]
        order = np.lexsort((among, -tokens.agreement[among], row))
        counts = np.bincount(row, minlength=1)
        rank = np.arange(among.size) - (np.cumsum(counts) - counts)[row]
        weights[among[order]] = rank < taken(self.share, counts)[row]
        return weights


class ConfidenceWeights(WeightSettings):
    """1 where the reference gives a token no more than its mean probability over the response, else 0 (ConfPO).

    Source: arXiv 2506.08712 (ConfPO), with the reference in the policy's place: the policy moves, and its columns would
    too. The threshold, the arithmetic mean of the probabilities of a response's tokens, is that of its authors' code
    (``cpo_loss_confpo``), which takes those strictly below it: this differs where probabilities are equal. There a pair
    with no such token does not count; here the response keeps what its mask keeps.

    Example:
        asr_data.MaskConfig(weights=asr_data.ConfidenceWeights())
    """

    kind: Literal["confidence"] = "confidence"

    @property
    def needs_reference(self) -> bool:
        """The probabilities are the reference's."""
        return True

    @property
    def is_mask(self) -> bool:
        """All are 0 or 1."""
        return True

    def values(self, tokens: WeightedTokens, mean_distance: float | None) -> Float64:  # noqa: ARG002 - the protocol
        """See the base class."""
        if tokens.reference is None:
            raise ConfigError(NO_REFERENCE)
        probability = np.exp(tokens.reference.astype(np.float64))
        counted = tokens.own & ~np.isnan(probability)
        rows = int(tokens.row[-1]) + 1 if tokens.row.size else 0
        sums = np.bincount(tokens.row[counted], probability[counted], minlength=rows)
        mean = sums / np.maximum(np.bincount(tokens.row[counted], minlength=rows), 1)
        return np.where(np.isnan(probability), np.nan, probability <= mean[tokens.row])


WeightConfig: TypeAlias = Annotated[
    UniformWeights | SegmentWeights | SoftWeights | ShareWeights | ConfidenceWeights, Field(discriminator="kind")
]
"""Any of them, told apart by ``kind``."""

NO_REFERENCE = (
    'the weights "confidence" are by the reference\'s log-probabilities (S_ref_logp), and there are none: '
    "--logprobs MODEL writes them"
)


def token_weights(tokens: WeightedTokens, config: WeightConfig, mean_distance: float | None) -> Float32:
    """Return the weights, float32 ``[N]``: 0 where the mask is false, else finite and not negative.

    Args:
        tokens: of a batch of responses.
        config: the rule.
        mean_distance: see :meth:`WeightSettings.values`.

    Raises:
        ConfigError: what the rule needs is missing.
    """
    found = config.values(tokens, mean_distance)
    weights = np.where(tokens.free & ~np.isnan(found), found, 1.0) * tokens.kept
    rounded: Float32 = weights.astype(np.float32)
    left = np.bincount(tokens.row[rounded > 0], minlength=int(tokens.row[-1]) + 1 if tokens.row.size else 0)
    return np.where(left[tokens.row] > 0, rounded, tokens.kept.astype(np.float32))


def counted_distances(tokens: WeightedTokens) -> Float64:
    """Return the distances that ``segment`` weighs by, float64 ``[N]``; NaN elsewhere.

    They are those of aligned tokens. A response whose kept tokens are all at a distance of 0 has none.
    """
    rows = int(tokens.row[-1]) + 1 if tokens.row.size else 0
    most = np.zeros(rows)
    np.maximum.at(most, tokens.row[tokens.aligned], tokens.distance[tokens.aligned])
    return np.where(tokens.aligned & (most[tokens.row] > 0), tokens.distance, np.nan)


def taken(share: float, counts: Int64) -> Int64:
    """How many of so many tokens a share is: rounded up, whatever the product's last bit."""
    return np.ceil(share * counts - 1e-9).astype(np.int64)
