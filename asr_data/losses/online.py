"""The rule of the offline columns as a batched torch function, for rewards that are made while training."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from asr_data.losses.tensors import check_mask, check_values

Segmenter: TypeAlias = Literal["pivot", "schmitt", "optimal", "step", "token", "sequence"]
Baseline: TypeAlias = float | Tensor | Literal["sequence", "pair"]


@torch.no_grad()
def adaptive_mask(
    rewards: Tensor,
    valid: Tensor,
    preferred: Tensor,
    *,
    segmenter: Segmenter = "schmitt",
    threshold: float | Tensor | Literal["auto", "paper", "bic"] = "auto",
    baseline: Baseline = "sequence",
    group: Tensor | None = None,
    step_start: Tensor | None = None,
    boundary: Tensor | None = None,
    written: Tensor | None = None,
    end: Tensor | None = None,
    sequence_reward: Literal["mean", "last", "sum"] = "mean",
    segment_reward: Literal["mean", "last"] = "mean",
    on_empty: Literal["keep-all", "keep-best", "drop"] = "keep-all",
    end_token: Literal["keep", "mask", "segment"] = "keep",  # noqa: S107 - no password
) -> Tensor:
    """Cut responses into segments and keep those that agree with the verdict (paper eq. 8, 14, 15).

    Equals the ``S_mask`` column that ``asr-annotate`` writes for the same rewards and settings, with ``--noise
    response`` where a threshold is estimated, and with numbers in place of the ``dataset`` and ``running`` baselines.
    Rewards are rounded to bfloat16 first, as in the columns.

    Args:
        rewards: float ``[batch, time]``, r_t.
        valid: bool ``[batch, time]``, the response's tokens. Others are passed over, wherever they stand.
        preferred: bool ``[batch]``, the verdicts: chosen, or an advantage above 0.
        segmenter: as ``--segmenter``.
        threshold: τ of ``pivot`` (``auto``: 3·√2·σ), δ of ``schmitt`` (``auto``: σ), c² of ``optimal`` (``auto`` and
            ``bic``: 2σ² ln n, ``paper``: σ²), a number or float ``[batch]``; σ is estimated for each response.
        baseline: b, a number, float ``[batch]``, ``sequence`` (the response's own r_s) or ``pair`` (the mean r_s of the
            responses of one ``group``).
        group: int ``[batch]``, for ``pair``: equal numbers are answers to one prompt.
        step_start: bool ``[batch, time]``, for ``step``.
        boundary: float ``[batch, time]``, for ``optimal``: starting a segment at t costs ``c² · boundary[t]``.
        written: bool ``[batch, time]``, false at valid tokens that the assistant did not write (tool results): they are
            never trained on.
        end: bool ``[batch, time]``, the assistant's end-of-turn tokens: they follow ``end_token`` and do not count as
            something kept.
        sequence_reward: r_s.
        segment_reward: r_k.
        on_empty: what a response gets that keeps nothing; ``drop`` masks all of it.
        end_token: as ``--end-token``.

    Returns:
        bool ``[batch, time]``, true where a token is trained on.

    Raises:
        ValueError: shapes, types, numbers that are not finite, a response without tokens, or a missing argument.
    """
    _check(rewards, valid, preferred, segmenter, baseline, group, step_start)
    closing = torch.zeros_like(valid) if end is None else end & valid
    flat = rewards[valid].to(torch.bfloat16).double()
    row = valid.nonzero()[:, 0]
    lengths = valid.sum(dim=1)
    begins = lengths.cumsum(0) - lengths
    sequence = _means(flat, row, lengths, begins, sequence_reward)
    b = _baseline(baseline, sequence, group)
    starts = _starts(flat, row, begins, lengths, segmenter, threshold, b, step_start, boundary, valid)
    segment = starts.cumsum(0) - 1
    segment_row = row[starts]
    sizes = torch.bincount(segment)
    reward = _means(flat, segment, sizes, sizes.cumsum(0) - sizes, segment_reward)
    keep = torch.where(preferred[segment_row], reward > b[segment_row], reward <= b[segment_row])
    own = valid if written is None else written & valid
    content = torch.zeros_like(keep)
    content[segment[(own & ~closing)[valid]]] = True
    empty = torch.ones_like(preferred)
    empty[segment_row[keep & content]] = False
    keep = _refilled(keep, reward, content, segment_row, empty, preferred, on_empty)
    mask = torch.zeros_like(valid)
    mask[valid] = keep[segment]
    mask &= own | closing if end_token == "segment" else own & ~closing
    if end_token == "keep":
        mask |= closing
    return mask & ~empty[:, None] if on_empty == "drop" else mask


def _check(
    rewards: Tensor,
    valid: Tensor,
    preferred: Tensor,
    segmenter: Segmenter,
    baseline: Baseline,
    group: Tensor | None,
    step_start: Tensor | None,
) -> None:
    check_mask(rewards, valid=valid)
    check_values(rewards=rewards.where(valid, rewards.new_zeros(())))
    if preferred.dtype != torch.bool or preferred.shape != rewards.shape[:1]:
        raise ValueError(f"preferred is {preferred.dtype} {list(preferred.shape)}; it must be bool [{len(rewards)}]")
    empty = (~valid.any(dim=1)).nonzero()
    if len(empty):
        raise ValueError(f"response {int(empty[0])} has no valid token")
    if isinstance(baseline, str) and baseline == "pair" and (group is None or group.shape != preferred.shape):
        raise ValueError(f'baseline "pair" needs group, int [{len(rewards)}]')
    if segmenter == "step":
        if step_start is None:
            raise ValueError('segmenter "step" needs step_start')
        check_mask(rewards, step_start=step_start)


def _means(values: Tensor, part: Tensor, sizes: Tensor, begins: Tensor, how: str) -> Tensor:
    """Mean, last or sum of each part, rounded to float32 as the columns are; float64."""
    if how == "last":
        return values[begins + sizes - 1]
    sums = values.new_zeros(len(sizes)).index_add_(0, part, values)
    return (sums if how == "sum" else sums / sizes).float().double()


def _baseline(baseline: Baseline, sequence: Tensor, group: Tensor | None) -> Tensor:
    if isinstance(baseline, str):
        if baseline == "sequence" or group is None:
            return sequence
        _, place = torch.unique(group, return_inverse=True)
        counts = torch.bincount(place)
        return (sequence.new_zeros(len(counts)).index_add_(0, place, sequence) / counts)[place]
    return _per_row("baseline", baseline, sequence)


def _per_row(name: str, setting: float | Tensor, like: Tensor) -> Tensor:
    given = torch.as_tensor(setting, dtype=torch.float64, device=like.device)
    if given.dim() > 1 or (given.dim() == 1 and given.shape != like.shape):
        raise ValueError(f"{name} must be one number or one per response, got shape {list(given.shape)}")
    if not bool(given.isfinite().all()):
        raise ValueError(f"{name} must be finite")
    return given.expand(len(like))


def _starts(
    flat: Tensor,
    row: Tensor,
    begins: Tensor,
    lengths: Tensor,
    segmenter: Segmenter,
    threshold: float | Tensor | str,
    baseline: Tensor,
    step_start: Tensor | None,
    boundary: Tensor | None,
    valid: Tensor,
) -> Tensor:
    """Bool over the flat tokens: where segments start."""
    first = torch.zeros_like(row, dtype=torch.bool)
    first[begins] = True
    if segmenter == "token":
        return torch.ones_like(first)
    if segmenter == "sequence":
        return first
    if segmenter == "step":
        return first if step_start is None else first | step_start[valid]
    setting = _threshold(segmenter, threshold, flat, begins, lengths)
    if segmenter == "pivot":
        return first | (flat.diff(prepend=flat[:1]).abs() > setting[row])
    if segmenter == "schmitt":
        return first | _schmitt_changes(flat, begins[row], baseline[row], setting[row])
    if segmenter == "optimal":
        weights = torch.ones_like(flat) if boundary is None else boundary[valid].double()
        return _optimal(flat, begins, lengths, setting, weights)
    raise ValueError(f"segmenter is {segmenter!r}; allowed are pivot, schmitt, optimal, step, token, sequence")


def _threshold(
    segmenter: str, threshold: float | Tensor | str, flat: Tensor, begins: Tensor, lengths: Tensor
) -> Tensor:
    if not isinstance(threshold, str):
        return _per_row("threshold", threshold, lengths)
    allowed = ("auto", "paper", "bic") if segmenter == "optimal" else ("auto",)
    if threshold not in allowed:
        raise ValueError(f"threshold of {segmenter} is {threshold!r}; allowed are a number, {', '.join(allowed)}")
    spans = zip(begins.tolist(), lengths.tolist(), strict=True)
    sigma = flat.new_tensor([_sigma(flat[begin : begin + length]) for begin, length in spans])
    if segmenter == "pivot":
        return 3.0 * math.sqrt(2) * sigma
    if segmenter == "schmitt":
        return sigma
    return sigma**2 if threshold == "paper" else 2 * sigma**2 * lengths.double().log()


def _sigma(values: Tensor) -> float:
    """The noise of one response, from the median absolute deviation of its first differences."""
    differences = values.diff().float()
    if len(differences) < 2:
        return 0.0
    deviations = (differences - differences.quantile(0.5)).abs()
    return 1.4826 * float(deviations.quantile(0.5)) / math.sqrt(2)


def _schmitt_changes(flat: Tensor, begin: Tensor, baseline: Tensor, delta: Tensor) -> Tensor:
    """True where the trigger's state changes from one decided state to the other."""
    decided = (flat > baseline + delta).int() - (flat < baseline - delta).int()
    position = torch.arange(len(flat), device=flat.device)
    last = torch.where(decided != 0, position, -1).cummax(0).values
    before = torch.cat([last.new_full((1,), -1), last[:-1]])
    known = before >= begin
    return (decided != 0) & known & (decided != decided[before.clamp(min=0)])


def _optimal(flat: Tensor, begins: Tensor, lengths: Tensor, penalties: Tensor, weights: Tensor) -> Tensor:
    starts = torch.zeros_like(flat, dtype=torch.bool)
    for begin, length, penalty in zip(begins.tolist(), lengths.tolist(), penalties.tolist(), strict=True):
        values = flat[begin : begin + length]
        if penalty == 0:
            starts[begin : begin + length] = values.diff(prepend=values[:1]) != 0
            starts[begin] = True
        else:
            starts[begin + _best_partition(values, penalty, weights[begin : begin + length])] = True
    return starts


def _best_partition(values: Tensor, penalty: float, weights: Tensor) -> Tensor:
    """Segment starts of the least ``Σ squared error + penalty · weight``; ties to the fewest, then earliest.

    Optimal partitioning: over all last starts s of the first t tokens, ``cost(s) = F(s) + c² w_s − (S_t − S_s)² / (t −
    s)`` with prefix sums S of the centred values, whose squares add the same to every partition.
    """
    length = len(values)
    totals = torch.cat([values.new_zeros(1), (values - values.cumsum(0)[-1] / length).cumsum(0)])
    position = torch.arange(length, device=values.device)
    entered = values.new_full((length,), penalty)
    segments = torch.ones_like(position)
    last = torch.zeros(length + 1, dtype=torch.int64, device=values.device)
    for t in range(1, length + 1):
        difference = totals[t] - totals[:t]
        costs = entered[:t] - difference * difference / (t - position[:t])
        best = costs.min()
        tied = costs == best
        fewest = segments[:t].where(tied, length + 1).min()
        last[t] = (tied & (segments[:t] == fewest)).int().argmax()
        if t < length:
            entered[t] = best + penalty * weights[t]
            segments[t] = fewest + 1
    found, t = [], length
    while t > 0:
        t = int(last[t])
        found.append(t)
    return torch.tensor(found, device=values.device)


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
    if on_empty != "keep-best":
        raise ValueError(f"on_empty is {on_empty!r}; allowed are keep-all, keep-best, drop")
    keep = keep & ~empty[segment_row]
    agreement = torch.where(preferred[segment_row], reward, -reward)
    for row in empty.nonzero()[:, 0].tolist():
        mine = (segment_row == row).nonzero()[:, 0]
        fits = mine[content[mine]] if bool(content[mine].any()) else mine
        keep[fits[agreement[fits].argmax()]] = True
    return keep
