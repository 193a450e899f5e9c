"""Figures over all rows of a directory, in one pass and in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asr_data.ragged import Ragged
from asr_data.segments.approximation import approximation_errors, known_only
from asr_data.segments.rewards import round_bfloat16
from asr_data.storage import AnnotatedDirectory
from asr_data.types import Float32, Int64, Side
from asr_data.view.noise import response_sigmas

SHARE_BINS: Final = 20
_READ: Final = ("mask", "token_reward", "seg_start", "seg_reward", "seg_keep")


class RewardCounts:
    """How often each reward occurs, after rounding to bfloat16: 65,536 counters hold any number of rewards."""

    def __init__(self) -> None:
        self._counts: Int64 = np.zeros(2**16, dtype=np.int64)

    def add(self, rewards: Float32) -> None:
        """Count rewards; those that are unknown (NaN) are left out."""
        known = round_bfloat16(rewards[~np.isnan(rewards)])
        self._counts += np.bincount(known.view(np.uint32) >> np.uint32(16), minlength=2**16)

    def distinct(self) -> tuple[Float32, Int64]:
        """The rewards that occur, ascending, and how often each does."""
        (patterns,) = np.nonzero(self._counts)
        values = (patterns.astype(np.uint32) << np.uint32(16)).view(np.float32)
        order = np.argsort(values)
        return values[order], self._counts[patterns[order]]


@dataclass
class SideFigures:
    """Figures over the responses of one side.

    Attributes:
        responses, tokens, kept_tokens, segments, kept_segments: totals.
        token_rewards, segment_rewards: how often each occurs.
        segments_per_response: number of segments → responses that have so many.
        kept_shares: int64 ``[20]``, responses by the share of their tokens that is kept, in steps of 5 %.
    """

    responses: int = 0
    tokens: int = 0
    kept_tokens: int = 0
    segments: int = 0
    kept_segments: int = 0
    token_rewards: RewardCounts = field(default_factory=RewardCounts)
    segment_rewards: RewardCounts = field(default_factory=RewardCounts)
    segments_per_response: Counter[int] = field(default_factory=Counter)
    kept_shares: Int64 = field(default_factory=lambda: np.zeros(SHARE_BINS, dtype=np.int64))


@dataclass
class Errors:
    """Sums of the paper's eq. 12–14 over tokens with a known reward, with ``c² = σ²``."""

    err_seq: float = 0.0
    err_tok: float = 0.0
    err_seg: float = 0.0
    tokens: int = 0

    def per_token(self) -> dict[str, float]:
        """Each error divided by the number of tokens; empty where there are none."""
        names = ("err_seq", "err_tok", "err_seg")
        return {name: getattr(self, name) / self.tokens for name in names} if self.tokens else {}


@dataclass
class ReportFigures:
    """What one pass over a directory gives."""

    sides: dict[Side, SideFigures]
    errors: Errors = field(default_factory=Errors)


def figures_of(annotated: AnnotatedDirectory) -> ReportFigures:
    """One pass over the annotation columns of every row."""
    figures = ReportFigures({side: SideFigures() for side in annotated.manifest.sides})
    sigmas = _sigmas(annotated)
    for batch in _batches(annotated):
        of_batch = next(sigmas)
        for side, columns in batch.items():
            _add_side(figures.sides[side], columns)
            _add_errors(figures.errors, columns, of_batch[side])
    return figures


def _sigmas(annotated: AnnotatedDirectory) -> Iterator[dict[Side, Any]]:
    """The noise σ that the masks were made with, a number or one a row, for each batch that has rows."""
    manifest = annotated.manifest
    if manifest.mask is None or manifest.mask.noise == "dataset":
        yield from repeat(dict.fromkeys(manifest.sides, manifest.statistics.get("sigma", 0.0)))
        return
    for scores in annotated.score_batches():
        if scores.num_rows:
            yield {side: response_sigmas(scores, side, manifest.mask.reward) for side in manifest.sides}


def _batches(annotated: AnnotatedDirectory) -> Iterator[dict[Side, dict[str, Ragged]]]:
    prefix, sides = annotated.manifest.prefix, annotated.manifest.sides
    names = [f"{prefix}{side}_{name}" for side in sides for name in _READ]
    for batch in annotated.data_batches(columns=names):
        if batch.num_rows:
            yield {side: {name: Ragged(batch.column(f"{prefix}{side}_{name}")) for name in _READ} for side in sides}


def _add_side(figures: SideFigures, columns: Mapping[str, Ragged]) -> None:
    mask, keep = columns["mask"], columns["seg_keep"]
    kept = np.add.reduceat(np.append(mask.values, False).astype(np.int64), mask.offsets[:-1])
    lengths = np.maximum(mask.lengths, 1)
    figures.responses += mask.lengths.size
    figures.tokens += mask.values.size
    figures.kept_tokens += int(mask.values.sum())
    figures.segments += keep.values.size
    figures.kept_segments += int(keep.values.sum())
    figures.token_rewards.add(columns["token_reward"].values)
    figures.segment_rewards.add(columns["seg_reward"].values)
    figures.segments_per_response.update(keep.lengths.tolist())
    # The last bin holds 100 %, too.
    bins = np.minimum(kept * SHARE_BINS // lengths, SHARE_BINS - 1)
    figures.kept_shares += np.bincount(bins, minlength=SHARE_BINS)


def _add_errors(errors: Errors, columns: Mapping[str, Ragged], sigma: Any) -> None:
    values, starts = columns["token_reward"], columns["seg_start"]
    flat_starts = starts.values.astype(np.int64) + np.repeat(values.offsets[:-1], starts.lengths)
    rewards, offsets, flat_starts = known_only(values.values, values.offsets, flat_starts)
    found = approximation_errors(rewards, offsets, flat_starts, sigma)
    errors.err_seq += found.err_seq
    errors.err_tok += found.err_tok
    errors.err_seg += found.err_seg
    errors.tokens += found.tokens


# --- histograms for the charts ---------------------------------------------------------------------------

Bins = list[dict[str, Any]]


def reward_bins(counts: Mapping[Side, RewardCounts], bins: int = 50) -> Bins:
    """Share of the rewards of each side in equal bins over what all sides have."""
    found = {side: one.distinct() for side, one in counts.items()}
    present = [values for values, _ in found.values() if values.size]
    if not present:
        return []
    low, high = float(min(v[0] for v in present)), float(max(v[-1] for v in present))
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    return _shares(
        {side: np.histogram(values, edges, weights=count)[0] for side, (values, count) in found.items()}, edges
    )


def share_bins(figures: Mapping[Side, SideFigures]) -> Bins:
    """Share of the responses of each side by the share of their tokens that is kept."""
    return _shares({side: one.kept_shares for side, one in figures.items()}, np.linspace(0, 1, SHARE_BINS + 1))


def segment_bins(figures: Mapping[Side, SideFigures], bins: int = 30) -> Bins:
    """Share of the responses of each side by their number of segments."""
    most = max((max(one.segments_per_response, default=0) for one in figures.values()), default=0)
    width = -(-(most + 1) // bins)
    edges = np.arange(0, most + width + 1, width)
    counts = {}
    for side, one in figures.items():
        number, responses = list(one.segments_per_response), list(one.segments_per_response.values())
        counts[side] = np.histogram(number, edges, weights=responses)[0]
    return _shares(counts, edges)


def _shares(counts: Mapping[Side, NDArray[Any]], edges: NDArray[Any]) -> Bins:
    """A point at the left edge of each bin, and one at the right end, so that a step line covers all."""
    points: Bins = []
    for side, count in counts.items():
        shares: Sequence[float] = (count / max(count.sum(), 1)).tolist()
        steps = zip(edges.tolist(), [*shares, shares[-1]], strict=True)
        points += [{"side": side, "x": float(f"{x:.6g}"), "share": float(f"{share:.6g}")} for x, share in steps]
    return points
