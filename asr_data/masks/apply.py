"""From scored policy tokens to segments and masks, at any setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from asr_data.config import MaskConfig
from asr_data.errors import ConfigError
from asr_data.masks.baseline import Responses
from asr_data.masks.batch import MaskedBatch, TokenBatch
from asr_data.masks.keep import keep_segments
from asr_data.masks.known_runs import known_runs, unknown_responses
from asr_data.masks.weights import WeightedTokens, counted_distances, token_weights
from asr_data.segments import SplitContext, split
from asr_data.segments.noise import estimate_sigma, estimate_sigma_per_row
from asr_data.segments.rewards import increments, round_bfloat16, segment_rewards, sequence_rewards
from asr_data.segments.statistics import RewardStatistics
from asr_data.segments.trend import TrendEstimate, detrended
from asr_data.types import Bool, Float32, Float64, Int64

__all__ = [
    "MaskedBatch",
    "TokenBatch",
    "data_set_statistics",
    "needs_statistics",
    "response_rewards",
    "segment_and_mask",
    "span_rewards",
    "token_rewards",
]


def segment_and_mask(
    batch: TokenBatch,
    config: MaskConfig,
    statistics: RewardStatistics | None = None,
    running: float | None = None,
) -> tuple[MaskedBatch, float | None]:
    """Cut every response into segments and decide which tokens are trained on.

    Args:
        batch: scored responses, in row order.
        config: every setting of segments and masks.
        statistics: of the whole data set, where ``needs_statistics(config)``.
        running: the running baseline before this batch, None before the first.

    Returns:
        The segments and masks, and the running baseline after this batch.

    Raises:
        ConfigError: a setting asks for what the scorer did not give, or for statistics that are not there.
        InputError: an infinite reward, or a response without tokens.
    """
    cut = _cut(batch, config, statistics, running)
    if config.weights.kind == "mask":
        return cut.masked, cut.running
    mean_distance = None if statistics is None else statistics.mean_distance
    weight = token_weights(cut.weighted, config.weights, mean_distance)
    return replace(cut.masked, weight=weight), cut.running


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """Segments and masks of a batch, what weights follow from, and the running baseline after the batch."""

    masked: MaskedBatch
    weighted: WeightedTokens
    running: float | None


def _cut(batch: TokenBatch, config: MaskConfig, statistics: RewardStatistics | None, running: float | None) -> _Cut:
    rewards = _without_trend(batch, config, statistics)
    reward = response_rewards(batch, rewards, config.sequence_reward)
    baseline, running = config.baseline.values(Responses(reward, batch.group, statistics, running))
    starts = _starts(batch, config, rewards, baseline, statistics)
    segment_offsets = np.searchsorted(starts, batch.row_offsets).astype(np.int64)
    segment_row = np.repeat(np.arange(reward.size), np.diff(segment_offsets))
    segment_reward = segment_rewards(rewards, batch.row_offsets, starts, config.segment_reward, batch.with_text)
    aligned = keep_segments(segment_reward, segment_row, baseline, batch.preferred)
    lengths = np.diff(starts, append=rewards.size)
    unknown = unknown_responses(rewards, batch.row_offsets)
    keep, empty = _refill_empty(batch, config.on_empty, aligned, segment_reward, segment_row, lengths, unknown)
    keep = np.where(unknown[segment_row], config.unknown == "keep", keep)
    mask = _token_mask(batch, config.end_token, np.repeat(keep, lengths))
    if config.unknown == "drop":
        mask &= ~np.repeat(unknown, np.diff(batch.row_offsets))  # its end-of-turn tokens, too
    distance = segment_reward.astype(np.float64) - baseline[segment_row]
    free = mask & ~batch.end if config.end_token == "keep" else mask
    row = np.repeat(np.arange(reward.size), np.diff(batch.row_offsets))
    weighted = WeightedTokens(
        kept=mask,
        free=free,
        aligned=free & np.repeat(aligned, lengths),
        own=batch.written | batch.end,
        token_reward=rewards,
        distance=np.repeat(np.where(batch.preferred[segment_row], distance, -distance), lengths),
        preferred=batch.preferred[row],
        row=row,
        reference=batch.reference,
    )
    masked = MaskedBatch(
        token_reward=rewards,
        mask=mask,
        segment_offsets=segment_offsets,
        segment_start=(starts - batch.row_offsets[segment_row]).astype(np.int32),
        segment_reward=segment_reward,
        segment_keep=keep,
        reward=reward,
        empty=empty,
        unknown=unknown,
    )
    return _Cut(masked, weighted, running)


def token_rewards(batch: TokenBatch, reward: Literal["value", "delta"]) -> Float32:
    """Return r_t, float32 ``[N]``: the values, or their increments rounded to bfloat16 as values are.

    Raises ConfigError for ``delta`` where the scorer gave no value at the end of the prompt.
    """
    if reward == "value":
        return batch.values
    return round_bfloat16(increments(batch.values, batch.row_offsets, batch.initial, batch.with_text))


def span_rewards(batch: TokenBatch, reward: Literal["value", "delta"]) -> tuple[Float32, Int64]:
    """Return what σ is estimated from: the rewards of the scorer's own spans, or their increments, and row offsets.

    They depend neither on the policy's tokenizer nor on rounding. Where no spans are given, tokens with text are.
    """
    if batch.span_reward is None or batch.span_offsets is None:
        text = batch.with_text
        offsets = np.concatenate(([0], np.cumsum(text)))[batch.row_offsets]
        return token_rewards(batch, reward)[text], offsets
    if reward == "value":
        return batch.span_reward, batch.span_offsets
    return increments(batch.span_reward, batch.span_offsets, batch.initial), batch.span_offsets


def _without_trend(batch: TokenBatch, config: MaskConfig, statistics: RewardStatistics | None) -> Float32:
    """Return the r_t that all later steps use, float32 ``[N]``.

    Raises:
        ConfigError: see :func:`token_rewards`, or the trend to subtract is not known.
    """
    rewards = token_rewards(batch, config.reward)
    if not config.detrend:
        return rewards
    if statistics is None or statistics.trend is None:
        raise ConfigError("detrend needs the mean reward by position over the whole data set first")
    return detrended(rewards, batch.row_offsets, batch.with_text, statistics.trend)


def data_set_statistics(batches: Callable[[], Iterable[TokenBatch]], config: MaskConfig) -> RewardStatistics:
    """What masks need to know of the whole data set, in one pass over it.

    A trend to subtract takes another pass before it, and the weights ``segment`` one behind it.

    Args:
        batches: gives all responses in row order, batch by batch, every time that it is called.
        config: the settings of the masks.

    Raises:
        ConfigError: a setting asks for what the scorer did not give, or no trend can be estimated.
    """
    trend = None
    if config.detrend:
        estimate = TrendEstimate()
        for batch in batches():
            estimate.add(token_rewards(batch, config.reward), batch.row_offsets, batch.with_text)
        trend = estimate.curve()
    statistics = RewardStatistics(trend=trend)
    for batch in batches():
        rewards = _without_trend(batch, config, statistics)
        own = response_rewards(batch, rewards, config.sequence_reward)
        statistics.add(*span_rewards(batch, config.reward), own)
    if config.weights.needs_statistics:
        statistics.mean_distance = _mean_distance(batches(), config, statistics)
    return statistics


def _mean_distance(batches: Iterable[TokenBatch], config: MaskConfig, statistics: RewardStatistics) -> float:
    """Return the mean that ``segment`` weights divide by, over the rows that are not dropped; 0 where there is none.

    Summed in row order, one by one, as the mean of r_s is: it must not depend on the batches.
    """
    total, count, running = 0.0, 0, None
    for batch in batches:
        cut = _cut(batch, config, statistics, running)
        running = cut.running
        found = counted_distances(cut.weighted)
        dropped = batch.group[cut.masked.empty] if config.on_empty == "drop" else batch.group[:0]
        found = found[~np.isnan(found) & ~np.isin(batch.group[cut.weighted.row], dropped)]
        total = float(np.cumsum(np.concatenate(([total], found)))[-1])
        count += found.size
    return total / count if count else 0.0


def response_rewards(batch: TokenBatch, rewards: Float32, how: Literal["mean", "last", "sum", "scorer"]) -> Float32:
    """Return r_s, float32 ``[R]``, from the token rewards, or the scorer's own (else ConfigError).

    It is NaN where nothing is known of a response.
    """
    if how != "scorer":
        return sequence_rewards(rewards, batch.row_offsets, how, batch.with_text)
    unknown = unknown_responses(rewards, batch.row_offsets)
    missing = np.flatnonzero(np.isnan(batch.scorer_reward) & ~unknown)
    if missing.size:
        row = int(batch.group[missing[0]])
        raise ConfigError(
            f'input row {row}: sequence_reward "scorer" needs the scorer\'s own sequence score, '
            'which it did not give; use "mean", "last" or "sum"'
        )
    return batch.scorer_reward


def needs_statistics(config: MaskConfig) -> bool:
    """Whether these settings need a pass over the whole data set before the first mask."""
    over_all_rows = config.segmenter.needs_sigma and config.noise == "dataset"
    return over_all_rows or any((config.baseline.needs_statistics, config.detrend, config.weights.needs_statistics))


def _starts(
    batch: TokenBatch,
    config: MaskConfig,
    rewards: Float32,
    baseline: Float64,
    statistics: RewardStatistics | None,
) -> Int64:
    """Return the flat segment starts.

    A run of unknown tokens is a segment of its own. Each run of known ones between them is cut as a row of its own.
    """
    sigma = _sigma(batch, config, statistics) if config.segmenter.needs_sigma else 0.0
    context = SplitContext(baseline, sigma, batch.boundary, batch.step_start)
    if not np.isnan(rewards).any():
        return split(rewards, batch.row_offsets, config.segmenter, context)
    runs = known_runs(rewards, batch.row_offsets)
    starts = split(rewards[runs.token], runs.offsets, config.segmenter, context.take(runs.token, runs.row))
    return np.sort(np.concatenate((runs.token[starts], runs.unknown_start)))


def _sigma(batch: TokenBatch, config: MaskConfig, statistics: RewardStatistics | None) -> float | Float64:
    """Return the noise σ, of the data set or of each response: that of the rewards with their trend.

    A trend is smooth, not noise, and subtracting it would make a reward repeated over a step's tokens change.

    Raises:
        ConfigError: σ is 0, and there is something to cut.
    """
    setting = config.segmenter.sigma_setting
    rewards = token_rewards(batch, config.reward)
    instead = f"give a number as {setting} (--{setting} X), or choose the segmenter step or sequence"
    if config.noise == "dataset":
        if statistics is None:
            raise ConfigError(
                f'the segmenter "{config.segmenter.kind}" with noise "dataset" needs statistics over the whole '
                'data set first; or use noise "response"'
            )
        sigma = statistics.sigma()
        if sigma == 0.0 and _might_be_cut(rewards, batch):
            raise ConfigError(
                "the noise σ of the rewards is 0, because the scorer's own spans change within no response: "
                f"{setting} cannot be derived from it; {instead}"
            )
        return sigma
    own = estimate_sigma_per_row(*span_rewards(batch, config.reward))
    for row in np.flatnonzero(own == 0.0).tolist():
        part = slice(batch.row_offsets[row], batch.row_offsets[row + 1])
        tokens = rewards[part][batch.with_text[part]]
        if estimate_sigma(tokens, np.array([0, tokens.size])) > 0.0:
            own[row] = 0.0 if statistics is None else statistics.sigma()
            if own[row] == 0.0:
                raise ConfigError(
                    f"input row {int(batch.group[row])}: the noise σ of this response is 0, because the scorer's "
                    f'rewards do not change within it; {instead}, or noise "dataset"'
                )
    return own


def _might_be_cut(rewards: Float32, batch: TokenBatch) -> bool:
    """Whether a reward changes within a response; one that never does is a single segment at any threshold."""
    text = batch.with_text
    offsets = np.concatenate(([0], np.cumsum(text)))[batch.row_offsets]
    return estimate_sigma(rewards[text], offsets) > 0.0


def _refill_empty(
    batch: TokenBatch,
    on_empty: Literal["keep-all", "keep-best", "drop"],
    keep: Bool,
    segment_reward: Float32,
    segment_row: Int64,
    lengths: Int64,
    unknown: Bool,
) -> tuple[Bool, Bool]:
    """Return the kept segments after ``on_empty``, bool ``[K]``, and which responses were empty, bool
    ``[R]``; those of which nothing is known are not.

    End-of-turn tokens do not count as something to train on here: they would hide that nothing else is.
    """
    rows = batch.preferred.size
    segment = np.repeat(np.arange(keep.size), lengths)
    content = np.zeros(keep.size, dtype=np.bool_)
    content[segment[batch.written & ~batch.end]] = True
    empty = np.ones(rows, dtype=np.bool_)
    empty[segment_row[keep & content]] = False
    empty &= ~unknown
    if on_empty == "keep-all":
        return keep | empty[segment_row], empty
    if on_empty == "keep-best":
        keep = keep & ~empty[segment_row]
        for row in np.flatnonzero(empty).tolist():
            begin, end = np.searchsorted(segment_row, (row, row + 1))
            keep[begin + _best(segment_reward[begin:end], content[begin:end], bool(batch.preferred[row]))] = True
    return keep, empty


def _best(segment_reward: Float32, content: Bool, preferred: bool) -> int:
    """Return the segment that speaks most for the verdict, among those with content; the first on ties.

    Where nothing is known of any of them, it is the first with content.
    """
    agreement = segment_reward if preferred else -segment_reward
    known = content & ~np.isnan(segment_reward)
    among = known if known.any() else content
    if among.any():
        agreement = np.where(among, agreement, -np.inf)
    return int(np.argmax(agreement))


def _token_mask(batch: TokenBatch, end_token: Literal["keep", "mask", "segment"], kept: Bool) -> Bool:
    """Return bool ``[N]``: written tokens as their segment, end-of-turn tokens as ``end_token`` says."""
    match end_token:
        case "keep":
            return (kept & batch.written) | batch.end
        case "mask":
            return kept & batch.written & ~batch.end
        case "segment":
            return kept & (batch.written | batch.end)
