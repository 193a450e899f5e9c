"""The segmenters in torch, for rewards computed during training: each twin cuts as its offline form does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asr_data.config import BoundaryWeights, Fixed, Optimal, Pivot, Schmitt, SegmenterConfig, Sequence, Step, Token


@dataclass(frozen=True, slots=True, eq=False)
class FlatTokens:
    """N tokens of R responses, one response after the other.

    Attributes:
        values: float64 ``[N]``, r_t.
        row: int64 ``[N]``, the response of each token.
        begins: int64 ``[R]``, the first token of each response.
        lengths: int64 ``[R]``, at least 1.
        baseline: float64 ``[R]``, b.
        sigma: float64 ``[R]``, the noise σ; None where the segmenter does not need it.
        step_start: bool ``[N]``, or None.
        boundary: integers ``[N]`` of ``asr_data.boundaries.BoundaryKind``, or None where the text is not known.
    """

    values: Tensor
    row: Tensor
    begins: Tensor
    lengths: Tensor
    baseline: Tensor
    sigma: Tensor | None = None
    step_start: Tensor | None = None
    boundary: Tensor | None = None

    def sigmas(self) -> Tensor:
        """The noise σ of each response, float64 ``[R]``."""
        return torch.zeros_like(self.baseline) if self.sigma is None else self.sigma


def segment_starts(segmenter: SegmenterConfig, tokens: FlatTokens) -> Tensor:
    """Bool ``[N]``: where segments start.

    Raises:
        ValueError: ``step`` without ``step_start``.
    """
    first = torch.zeros_like(tokens.row, dtype=torch.bool)
    first[tokens.begins] = True
    if isinstance(segmenter, Pivot | Schmitt | Optimal) and segmenter.smooth is not None:
        tokens = replace(tokens, values=_smoothed(tokens, segmenter.smooth))
    match segmenter:
        case Sequence():
            return first
        case Token():
            return torch.ones_like(first)
        case Step():
            if tokens.step_start is None:
                raise ValueError('segmenter "step" needs step_start')
            return first | tokens.step_start
        case Fixed():
            position = torch.arange(len(tokens.row), device=first.device) - tokens.begins[tokens.row]
            return position % segmenter.length == 0
        case Pivot():
            return first | _jumps(segmenter, tokens)
        case Schmitt():
            return first | _schmitt_changes(segmenter, tokens)
        case Optimal():
            return _optimal(segmenter, tokens)


def sigma_of(values: Tensor) -> float:
    """The noise σ of one response from its changes; ``values`` are the rewards of its tokens with text.

    As ``asr_data.segments.noise`` has it: the median absolute deviation of the first differences that are not zero.
    """
    differences = values.float().diff()
    differences = differences[differences != 0]
    if len(differences) == 0:
        return 0.0
    spread = (differences - differences.quantile(0.5)).abs().quantile(0.5)
    if spread == 0:
        spread = differences.abs().quantile(0.5)
    return 1.4826 * float(spread) / math.sqrt(2)


def _smoothed(tokens: FlatTokens, ratio: float) -> Tensor:
    """The levels of ``asr_data.segments.smoothing``, all responses at once; float64 ``[N]``, rounded to float32."""
    longest = int(tokens.lengths.max())
    place = (tokens.row, torch.arange(len(tokens.row), device=tokens.row.device) - tokens.begins[tokens.row])
    levels = tokens.values.new_zeros((len(tokens.lengths), longest))
    levels[place] = tokens.values
    variances = [1.0]
    for t in range(1, longest):
        predicted = variances[-1] + ratio
        variances.append(predicted / (predicted + 1.0))
        levels[:, t] = levels[:, t - 1] + variances[-1] * (levels[:, t] - levels[:, t - 1])
    for t in range(longest - 2, -1, -1):
        step = variances[t] / (variances[t] + ratio) * (levels[:, t + 1] - levels[:, t])
        levels[:, t] += torch.where(t + 1 < tokens.lengths, step, 0.0)
    return levels[place].float().double()


def _jumps(segmenter: Pivot, tokens: FlatTokens) -> Tensor:
    """True where the reward jumps by more than τ, at first tokens too."""
    if segmenter.tau == "auto":
        tau = (segmenter.k * math.sqrt(2) * tokens.sigmas())[tokens.row]
    else:
        tau = torch.full_like(tokens.values, segmenter.tau)
    return tokens.values.diff(prepend=tokens.values[:1]).abs() > tau


def _schmitt_changes(segmenter: Schmitt, tokens: FlatTokens) -> Tensor:
    """True where the trigger's state changes from one decided state to the other."""
    values, baseline = tokens.values, tokens.baseline
    delta = segmenter.k * tokens.sigmas() if segmenter.delta == "auto" else torch.full_like(baseline, segmenter.delta)
    lower, upper = (baseline - segmenter.down * delta)[tokens.row], (baseline + delta)[tokens.row]
    decided = (values > upper).int() - (values < lower).int()
    position = torch.arange(len(values), device=values.device)
    last = torch.where(decided != 0, position, -1).cummax(0).values
    before = torch.cat([last.new_full((1,), -1), last[:-1]])
    known = before >= tokens.begins[tokens.row]
    return (decided != 0) & known & (decided != decided[before.clamp(min=0)])


def _optimal(segmenter: Optimal, tokens: FlatTokens) -> Tensor:
    starts = torch.zeros_like(tokens.row, dtype=torch.bool)
    weights = _weights(segmenter.boundary, tokens)
    spans = zip(tokens.begins.tolist(), tokens.lengths.tolist(), _penalties(segmenter, tokens).tolist(), strict=True)
    for begin, length, penalty in spans:
        values = tokens.values[begin : begin + length]
        if penalty == 0:
            starts[begin : begin + length] = values.diff(prepend=values[:1]) != 0
            starts[begin] = True
        else:
            starts[begin + _best_partition(values, penalty, weights[begin : begin + length])] = True
    return starts


def _penalties(segmenter: Optimal, tokens: FlatTokens) -> Tensor:
    """c² of each response, float64 ``[R]``."""
    if not isinstance(segmenter.penalty, str):
        return torch.full_like(tokens.baseline, segmenter.penalty)
    variance = tokens.sigmas() ** 2
    return variance if segmenter.penalty == "paper" else 2 * variance * tokens.lengths.double().log()


def _weights(factors: BoundaryWeights | None, tokens: FlatTokens) -> Tensor:
    """What a cut costs before each token, as a multiple of c²."""
    if factors is None or tokens.boundary is None:
        return torch.ones_like(tokens.values)
    table = tokens.values.new_tensor(
        [factors.inside_word, factors.word, factors.clause, factors.sentence, factors.line]
    )
    return table[tokens.boundary.long()]


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
