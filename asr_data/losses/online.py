"""The rule of the offline columns as a batched torch function, for rewards computed during training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from asr_data.config import (
    BaselineConfig,
    DatasetBaseline,
    FixedBaseline,
    MaskConfig,
    PairBaseline,
    RunningBaseline,
    SegmenterConfig,
    SequenceBaseline,
    WeightConfig,
)
from asr_data.losses.online_segments import FlatTokens, segment_starts, sigma_of
from asr_data.losses.online_weights import FlatWeighted, flat_weights
from asr_data.losses.tensors import check_mask, check_values


@torch.no_grad()
def adaptive_mask(
    rewards: Tensor,
    valid: Tensor,
    preferred: Tensor,
    *,
    segmenter: SegmenterConfig | str = "schmitt",
    baseline: BaselineConfig | float | Tensor | str = "sequence",
    sigma: float | Tensor | None = None,
    detrend: Tensor | None = None,
    group: Tensor | None = None,
    step_start: Tensor | None = None,
    boundary: Tensor | None = None,
    written: Tensor | None = None,
    end: Tensor | None = None,
    sequence_reward: Literal["mean", "last", "sum"] = "mean",
    segment_reward: Literal["mean", "last"] = "mean",
    on_empty: Literal["keep-all", "keep-best", "drop"] = "keep-all",
    end_token: Literal["keep", "mask", "segment"] = "keep",  # noqa: S107 - no password
    weights: WeightConfig | str = "mask",
    mean_distance: float | None = None,
    reference_logps: Tensor | None = None,
) -> Tensor:
    """Cut responses into segments and keep those that agree with the verdict (paper eq. 8, 14, 15).

    Equals the ``S_mask`` column (``S_weight`` with ``weights``) that ``asr-annotate`` writes for the same rewards and
    settings. Rewards are rounded to bfloat16 first, as in the columns.

    The noise σ is estimated for each response from its tokens with text, not rounded. The columns take it from the
    scorer's own spans, by default over the data set: this is ``--noise response`` where the policy's tokens are spans.
    Otherwise give ``sigma``, such as the one that ``asr.json`` has for scored data (``statistics``).

    The settings are those of ``asr_data.MaskConfig``, with two other defaults: ``schmitt`` and not ``optimal``, whose
    default prices are by what stands in the text, which is not seen here; and the baseline ``sequence`` and not
    ``pair``, which needs ``group``.

    Args:
        rewards: float ``[batch, time]``, r_t.
        valid: bool ``[batch, time]``, the response's tokens. Others are passed over, wherever they stand.
        preferred: bool ``[batch]``, the verdicts: chosen, or an advantage above 0.
        segmenter: a segmenter such as ``asr_data.Schmitt(delta=0.1)``, or the name of one for its defaults.
        baseline: a baseline, its name, a number or float ``[batch]``. ``PairBaseline`` is the mean r_s of the responses
            of one ``group``; in place of ``DatasetBaseline`` and ``RunningBaseline`` give their value.
        sigma: the noise σ, a number or float ``[batch]``, at least 0, for segmenters at ``auto``, ``paper`` or ``bic``.
        detrend: float ``[parts]``, at least 2: the mean reward in equal parts of a response, which is first subtracted
            from every reward at its relative position (``--detrend``). Offline it is estimated over the data set:
            ``asr_data.segments.trend.recorded_trend`` reads it from ``asr.json``. One batch is too small for that.
        group: int ``[batch]``, for ``pair``: equal numbers are answers to one prompt.
        step_start: bool ``[batch, time]``, for ``step``.
        boundary: integers ``[batch, time]`` of ``asr_data.boundaries.BoundaryKind``, for ``optimal``: what starts
            at each token. None where the text is not known, and then a cut costs the same everywhere.
        written: bool ``[batch, time]``, false at valid tokens that the assistant did not write (tool results): they are
            never trained on.
        end: bool ``[batch, time]``, the assistant's end-of-turn tokens: they follow ``end_token``, have no text, and do
            not count as something kept.
        sequence_reward: r_s.
        segment_reward: r_k.
        on_empty: what a response gets that keeps nothing; ``drop`` masks all of it.
        end_token: as ``--end-token``.
        weights: a rule such as ``asr_data.ShareWeights(share=0.3)``, or the name of one for its defaults.
        mean_distance: what ``segment`` divides by: the data set's (``weight_mean_distance`` in ``asr.json``); default
            the mean of this batch.
        reference_logps: float ``[batch, time]``, log π_ref in nats, for ``confidence``.

    Returns:
        bool ``[batch, time]``, true where a token is trained on; with ``weights`` float32, what each token counts, 0
        where it is not trained on. The losses take either.

    Raises:
        ValueError: shapes, types, numbers that are not finite, a response without tokens, or a missing argument.
        ConfigError: an invalid setting, with what is allowed.
    """
    config = MaskConfig(
        segmenter=segmenter,  # type: ignore[arg-type] # a name is short for its defaults
        baseline=PairBaseline() if isinstance(baseline, Tensor) else baseline,  # type: ignore[arg-type] # or a number
        sequence_reward=sequence_reward,
        segment_reward=segment_reward,
        on_empty=on_empty,
        end_token=end_token,
        weights=weights,  # type: ignore[arg-type] # a name is short for its defaults
    )
    _check(rewards, valid, preferred, config, step_start=step_start, boundary=boundary)
    closing = torch.zeros_like(valid) if end is None else end & valid
    own = valid if written is None else written & valid
    text = (own & ~closing)[valid]
    row = valid.nonzero()[:, 0]
    lengths = valid.sum(dim=1)
    begins = lengths.cumsum(0) - lengths
    flat = rewards[valid].to(torch.bfloat16).double()
    if detrend is not None:
        flat = _detrended(flat, row, begins, text, detrend)
    sequence = _means(flat, row, lengths, begins, config.sequence_reward, text)
    b = _baseline(baseline if isinstance(baseline, Tensor) else config.baseline, sequence, group)
    noise = _noise(rewards[valid], lengths, text, sigma) if config.segmenter.needs_sigma else None
    flags = {"step_start": step_start, "boundary": boundary}
    known = {name: None if given is None else given[valid] for name, given in flags.items()}
    starts = segment_starts(config.segmenter, FlatTokens(flat, row, begins, lengths, b, noise, **known))
    kept, aligned, distance, empty = _kept(flat, row, starts, text, preferred, b, config)
    mask = torch.zeros_like(valid)
    mask[valid] = kept
    mask &= own | closing if config.end_token == "segment" else own & ~closing
    if config.end_token == "keep":
        mask |= closing
    mask = mask & ~empty[:, None] if config.on_empty == "drop" else mask
    if not config.has_weights:
        return mask
    free = mask & ~closing if config.end_token == "keep" else mask
    tokens = FlatWeighted(
        kept=mask[valid],
        free=free[valid],
        aligned=free[valid] & aligned,
        own=(own | closing)[valid],
        reward=flat,
        distance=distance,
        preferred=preferred[row],
        row=row,
        rows=len(valid),
        reference=_reference(reference_logps, valid),
    )
    weighted = torch.zeros_like(valid, dtype=torch.float32)
    weighted[valid] = flat_weights(tokens, config.weights, mean_distance)
    return weighted


def _reference(logps: Tensor | None, valid: Tensor) -> Tensor | None:
    """Log π_ref of the valid tokens, float64 ``[N]``."""
    if logps is None:
        return None
    check_mask(logps, valid=valid)
    check_values(reference_logps=logps.where(valid, logps.new_zeros(())))
    return logps[valid].double()


def _kept(
    rewards: Tensor, row: Tensor, starts: Tensor, text: Tensor, preferred: Tensor, b: Tensor, config: MaskConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Equation 8 and ``on_empty``: for each token whether its segment is kept, whether it is aligned, and how far from
    b it is on the verdict's side; the rows that kept nothing."""
    segment = starts.cumsum(0) - 1
    segment_row = row[starts]
    sizes = torch.bincount(segment)
    reward = _means(rewards, segment, sizes, sizes.cumsum(0) - sizes, config.segment_reward, text)
    aligned = torch.where(preferred[segment_row], reward > b[segment_row], reward <= b[segment_row])
    distance = (reward - b[segment_row]) * torch.where(preferred[segment_row], 1.0, -1.0)
    content = torch.zeros_like(aligned)
    content[segment[text]] = True
    empty = torch.ones_like(preferred)
    empty[segment_row[aligned & content]] = False
    keep = _refilled(aligned, reward, content, segment_row, empty, preferred, config.on_empty)
    return keep[segment], aligned[segment], distance[segment], empty


def _check(
    rewards: Tensor,
    valid: Tensor,
    preferred: Tensor,
    config: MaskConfig,
    *,
    step_start: Tensor | None,
    boundary: Tensor | None,
) -> None:
    check_mask(rewards, valid=valid)
    check_values(rewards=rewards.where(valid, rewards.new_zeros(())))
    if preferred.dtype != torch.bool or preferred.shape != rewards.shape[:1]:
        raise ValueError(f"preferred is {preferred.dtype} {list(preferred.shape)}; it must be bool [{len(rewards)}]")
    empty = (~valid.any(dim=1)).nonzero()
    if len(empty):
        raise ValueError(f"response {int(empty[0])} has no valid token")
    if config.sequence_reward == "scorer":
        raise ValueError('sequence_reward is "scorer"; allowed here are mean, last, sum')
    if step_start is not None:
        check_mask(rewards, step_start=step_start)
    if boundary is None:
        return
    if boundary.is_floating_point() or boundary.dtype == torch.bool or boundary.shape != rewards.shape:
        raise ValueError(
            f"boundary is {boundary.dtype} {list(boundary.shape)}; it must be integers {list(rewards.shape)}, the "
            "kind of boundary at each token; its cost is a setting of the segmenter"
        )
    if bool(((boundary < 0) | (boundary > 4))[valid].any()):
        raise ValueError("boundary must be from 0 (inside a word) to 4 (a line)")


def _means(values: Tensor, part: Tensor, sizes: Tensor, begins: Tensor, how: str, text: Tensor) -> Tensor:
    """Mean, sum or last token with text of each part, rounded to float32 as the columns are; float64."""
    if how == "last":
        ends = begins + sizes - 1
        last = torch.where(text, torch.arange(len(text), device=text.device), -1).cummax(0).values[ends]
        return values[torch.where(last >= begins, last, ends)]
    sums = values.new_zeros(len(sizes)).index_add_(0, part, values)
    return (sums if how == "sum" else sums / sizes).float().double()


def _detrended(values: Tensor, row: Tensor, begins: Tensor, text: Tensor, trend: Tensor) -> Tensor:
    """The twin of ``asr_data.segments.trend.detrended``, float64 ``[N]``, rounded to bfloat16."""
    if trend.dim() != 1 or len(trend) < 2 or not bool(trend.isfinite().all()):
        raise ValueError(f"detrend has shape {list(trend.shape)}; it must be at least two finite numbers, [parts]")
    trend = trend.to(values)
    total = text.cumsum(0)
    before = (total - text.long())[begins]
    count = torch.zeros_like(begins).index_add_(0, row, text.long())
    place = (total - before[row] - 1).clamp(min=0)
    at = (((place + 0.5) / count[row].clamp(min=1)) * len(trend) - 0.5).clamp(0.0, len(trend) - 1.0)
    below = at.long().clamp(max=len(trend) - 2)
    share = at - below
    usual = trend[below] * (1.0 - share) + trend[below + 1] * share
    return (values - usual).float().to(torch.bfloat16).double()


def _noise(rewards: Tensor, lengths: Tensor, text: Tensor, sigma: float | Tensor | None) -> Tensor:
    """σ of each response, float64 ``[R]``: the one given, or from the changes between its tokens with text."""
    like = lengths.double()
    if sigma is None:
        ends = lengths.cumsum(0)
        parts = [slice(*span) for span in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]
        return like.new_tensor([sigma_of(rewards[part][text[part]]) for part in parts])
    given = _per_row("sigma", torch.as_tensor(sigma), like)
    if bool((given < 0).any()):
        raise ValueError("sigma must be at least 0")
    return given


def _baseline(baseline: BaselineConfig | Tensor, sequence: Tensor, group: Tensor | None) -> Tensor:
    """b of each response, float64 ``[R]``."""
    match baseline:
        case Tensor():
            return _per_row("baseline", baseline, sequence)
        case SequenceBaseline():
            return sequence
        case FixedBaseline():
            return torch.full_like(sequence, baseline.value)
        case PairBaseline():
            if group is None or group.shape != sequence.shape:
                raise ValueError(f'baseline "pair" needs group, int [{len(sequence)}]')
            _, place = torch.unique(group, return_inverse=True)
            counts = torch.bincount(place)
            return (sequence.new_zeros(len(counts)).index_add_(0, place, sequence) / counts)[place]
        case DatasetBaseline() | RunningBaseline():
            raise ValueError(
                f'baseline "{baseline.kind}" depends on other responses; give its value: a number or [batch]'
            )


def _per_row(name: str, setting: Tensor, like: Tensor) -> Tensor:
    given = torch.as_tensor(setting, dtype=torch.float64, device=like.device)
    if given.dim() > 1 or (given.dim() == 1 and given.shape != like.shape):
        raise ValueError(f"{name} must be one number or one per response, got shape {list(given.shape)}")
    if not bool(given.isfinite().all()):
        raise ValueError(f"{name} must be finite")
    return given.expand(len(like))


def _refilled(
    keep: Tensor,
    reward: Tensor,
    content: Tensor,
    segment_row: Tensor,
    empty: Tensor,
    preferred: Tensor,
    on_empty: str,
) -> Tensor:
    """Kept segments after ``on_empty``."""
    if on_empty == "keep-all":
        return keep | empty[segment_row]
    if on_empty == "drop":
        return keep
    keep = keep & ~empty[segment_row]
    agreement = torch.where(preferred[segment_row], reward, -reward)
    for row in empty.nonzero()[:, 0].tolist():
        mine = (segment_row == row).nonzero()[:, 0]
        fits = mine[content[mine]] if bool(content[mine].any()) else mine
        keep[fits[agreement[fits].argmax()]] = True
    return keep
