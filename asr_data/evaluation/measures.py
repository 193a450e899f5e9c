"""What rewards, segments and masks are worth against gold labels, response by response. Needs numpy and numba alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from asr_data.compiled import compiled
from asr_data.ragged import row_sums
from asr_data.segments.approximation import errors_by_row, known_only
from asr_data.segments.rewards import segment_rewards
from asr_data.statistics.bootstrap import Measure
from asr_data.statistics.ranking import auroc_by_group
from asr_data.types import Bool, Float32, Float64, Int64

TITLES: Final[dict[str, str]] = {
    "token_auroc": "AUROC of token rewards within a response",
    "segment_auroc": "AUROC of segment rewards within a response",
    "precision": "masks as error detectors: precision",
    "recall": "masks as error detectors: recall",
    "f1": "masks as error detectors: F1",
    "balanced_accuracy": "masks as error detectors: balanced accuracy within a response",
    "boundary_f1": "boundary F1",
    "purity": "segment purity",
    "pairs_outcome": "pairs right by the sequence reward",
    "pairs_mean_step": "pairs right by the mean over steps",
    "pairs_last_step": "pairs right by the last step",
    "err_seq": "eq. 12, error of one reward per response",
    "err_tok": "eq. 13, error of one reward per token",
    "err_seg": "eq. 14, error of one reward per segment",
    "segments": "segments per response",
    "kept": "tokens kept",
}
"""Every measure and what it says."""

NEEDS_GOLD: Final = frozenset(list(TITLES)[:8])
FINDINGS: Final = tuple(list(TITLES)[:11])
"""The measures of what rewards and masks find, which controls are measured by, too."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledResponses:
    """Annotated responses and the gold labels of their tokens; N tokens, R responses, K segments.

    Attributes:
        rewards: float32 ``[N]``, r_t; NaN where unknown.
        row_offsets: int64 ``[R + 1]``.
        starts: int64 ``[K]``, flat segment starts.
        segment_reward: float32 ``[K]``, r_k.
        mask: bool ``[N]``, true where the token is trained on.
        reward: float32 ``[R]``, r_s.
        preferred: bool ``[R]``, the verdicts.
        group: int64 ``[R]``, the input row; the two responses of a pair are adjacent, the chosen one first.
        written: bool ``[N]``, true where the assistant wrote the token and it does not end its turn.
        step_start: bool ``[N]``, true where a step starts.
        faulty: bool ``[N]``, what gold says is wrong.
        known: bool ``[N]``, where gold says anything; only written tokens.
    """

    rewards: Float32
    row_offsets: Int64
    starts: Int64
    segment_reward: Float32
    mask: Bool
    reward: Float32
    preferred: Bool
    group: Int64
    written: Bool
    step_start: Bool
    faulty: Bool
    known: Bool


def measure(
    judged: LabelledResponses, sigma: float, *, tolerance: int = 2, step_reward: str = "mean"
) -> dict[str, Measure]:
    """Every measure of ``TITLES``, by response.

    Args:
        judged: responses with gold labels.
        sigma: the noise σ of eq. 13 and 14.
        tolerance: how many tokens a segment start may be off a gold boundary and still match it.
        step_reward: ``mean`` or ``last``, how a step's reward comes from its tokens.
    """
    found = {**findings(judged, tolerance=tolerance, step_reward=step_reward), **_errors(judged, sigma)}
    rows = np.ones(judged.reward.size)
    segments = np.diff(np.searchsorted(judged.starts, judged.row_offsets))
    found["segments"] = Measure(segments.astype(np.float64), rows)
    found["kept"] = _share(judged, judged.mask & judged.written, judged.written)
    return found


def findings(judged: LabelledResponses, *, tolerance: int = 2, step_reward: str = "mean") -> dict[str, Measure]:
    """The measures of ``FINDINGS``; see :func:`measure`."""
    spread = np.repeat(judged.segment_reward, np.diff(judged.starts, append=judged.rewards.size))
    return {
        "token_auroc": Measure.mean_of(within_auroc(judged, judged.rewards)),
        "segment_auroc": Measure.mean_of(within_auroc(judged, spread)),
        **_detection(judged),
        "boundary_f1": _boundary_f1(judged, tolerance),
        "purity": _purity(judged),
        **_pairs(judged, step_reward),
    }


def within_auroc(judged: LabelledResponses, scores: Float32) -> Float64:
    """Per response the chance that a faulty token has a lower score than a sound one (ties half), float64 ``[R]``.

    NaN where tokens of both classes with a known score are not there. All responses are ranked in one sort.
    """
    use = judged.known & ~np.isnan(scores)
    row = np.repeat(np.arange(judged.reward.size), np.diff(judged.row_offsets))[use]
    value, faulty = scores[use].astype(np.float64), judged.faulty[use]
    return 1.0 - auroc_by_group(value, faulty, row, judged.reward.size)


def _detection(judged: LabelledResponses) -> dict[str, Measure]:
    """A token is called faulty where it is dropped from a preferred response, or kept in another.

    Precision, recall and F1 are over all labelled tokens. There the verdict alone tells much: where only rejected
    responses have faults, keeping everything calls every sound token of the chosen ones rightly. Balanced accuracy is
    therefore a mean over the responses that have both faulty and sound tokens: 0.5 for a mask that does not look at
    the text.
    """
    preferred = np.repeat(judged.preferred, np.diff(judged.row_offsets))
    called = judged.mask != preferred
    faulty, sound = judged.known & judged.faulty, judged.known & ~judged.faulty
    hits, alarms = _count(judged, called & faulty), _count(judged, called & sound)
    faults, others = _count(judged, faulty), _count(judged, sound)
    both = (faults > 0) & (others > 0)
    rates = hits / np.maximum(faults, 1) + (others - alarms) / np.maximum(others, 1)
    return {
        "precision": Measure(hits, hits + alarms),
        "recall": Measure(hits, faults),
        "f1": Measure(2 * hits, hits + alarms + faults),
        "balanced_accuracy": Measure.mean_of(np.where(both, rates / 2, np.nan)),
    }


def _boundary_f1(judged: LabelledResponses, tolerance: int) -> Measure:
    """Segment starts against the tokens at which gold changes between sound and faulty, each matched once.

    The start of a response is no boundary. Starts where gold says nothing do not count.
    """
    gold = gold_boundaries(judged)
    first = np.zeros(judged.rewards.size, dtype=np.bool_)
    first[judged.row_offsets[:-1]] = True
    made = judged.starts[judged.known[judged.starts] & ~first[judged.starts]]
    made_offsets = np.searchsorted(made, judged.row_offsets).astype(np.int64)
    gold_offsets = np.searchsorted(gold, judged.row_offsets).astype(np.int64)
    matched = _matches(made, made_offsets, gold, gold_offsets, tolerance)
    labelled = _count(judged, judged.known) > 0
    whole = (np.diff(made_offsets) + np.diff(gold_offsets)) * labelled
    return Measure(2.0 * matched, np.asarray(whole, dtype=np.float64))


def gold_boundaries(judged: LabelledResponses) -> Int64:
    """The tokens whose gold label differs from that of the known token before them in the response, int64."""
    known = np.flatnonzero(judged.known)
    row = np.searchsorted(judged.row_offsets, known, side="right")
    faulty = judged.faulty[known]
    return known[1:][(faulty[1:] != faulty[:-1]) & (row[1:] == row[:-1])]


def _purity(judged: LabelledResponses) -> Measure:
    """Share of labelled tokens that have the label of most of their segment."""
    faulty = np.add.reduceat(judged.known & judged.faulty, judged.starts, dtype=np.int64)
    known = np.add.reduceat(judged.known, judged.starts, dtype=np.int64)
    row = np.searchsorted(judged.row_offsets, judged.starts, side="right") - 1
    most = np.bincount(row, weights=np.maximum(faulty, known - faulty), minlength=judged.reward.size)
    return Measure(most.astype(np.float64), _count(judged, judged.known))


def _pairs(judged: LabelledResponses, step_reward: str) -> dict[str, Measure]:
    """Pairs whose preferred response has the higher reward, ties half; pairs of which one is unknown do not enter.

    Rewards that differ in the seventh digit alone, as sums in another order do, are ties.
    """
    steps = judged.step_start.copy()
    steps[judged.row_offsets[:-1]] = True
    start = np.flatnonzero(steps).astype(np.int64)
    reward = segment_rewards(judged.rewards, judged.row_offsets, start, "last" if step_reward == "last" else "mean")
    row = np.searchsorted(judged.row_offsets, start, side="right") - 1
    known = ~np.isnan(reward)
    count = np.bincount(row, weights=known, minlength=judged.reward.size)
    total = np.bincount(row, weights=np.where(known, reward, 0.0), minlength=judged.reward.size)
    mean = np.divide(total, count, out=np.full(count.size, np.nan), where=count > 0)
    last = reward[np.searchsorted(start, judged.row_offsets[1:]) - 1].astype(np.float64)
    by = {"outcome": judged.reward.astype(np.float64), "mean_step": mean, "last_step": last}
    return {f"pairs_{name}": _pairs_right(judged, rewards) for name, rewards in by.items()}


def _pairs_right(judged: LabelledResponses, rewards: Float64) -> Measure:
    paired = np.zeros(rewards.size, dtype=np.bool_)
    paired[:-1] = (judged.group[1:] == judged.group[:-1]) & judged.preferred[:-1] & ~judged.preferred[1:]
    other = np.roll(rewards, -1)
    paired &= ~np.isnan(rewards) & ~np.isnan(other)
    ahead = np.where(paired, rewards - other, 0.0)
    ahead[np.abs(ahead) <= 1e-6 * np.maximum(np.abs(rewards), np.abs(other))] = 0.0
    wins = (np.sign(ahead) + 1.0) / 2.0
    return Measure(np.where(paired, wins, 0.0), paired.astype(np.float64))


def _errors(judged: LabelledResponses, sigma: float) -> dict[str, Measure]:
    """Eq. 12–14 per token, over the known rewards."""
    values, offsets, starts = known_only(judged.rewards, judged.row_offsets, judged.starts)
    errors = errors_by_row(values, offsets, starts, sigma)
    lengths = np.diff(offsets).astype(np.float64)
    names = ("err_seq", "err_tok", "err_seg")
    return {name: Measure(errors[:, column], lengths) for column, name in enumerate(names)}


def _share(judged: LabelledResponses, part: Bool, whole: Bool) -> Measure:
    return Measure(_count(judged, part), _count(judged, whole))


def _count(judged: LabelledResponses, flags: Bool) -> Float64:
    """True tokens of each response, float64 ``[R]``."""
    return row_sums(flags, judged.row_offsets).astype(np.float64)


@compiled(nogil=True)
def _matches(made: Int64, made_offsets: Int64, gold: Int64, gold_offsets: Int64, tolerance: int) -> Float64:
    """The most pairs of a start and a gold boundary at most ``tolerance`` apart: both ascend, so matching is greedy."""
    rows = made_offsets.size - 1
    out = np.zeros(rows, dtype=np.float64)
    for row in range(rows):
        i, j = made_offsets[row], gold_offsets[row]
        while i < made_offsets[row + 1] and j < gold_offsets[row + 1]:
            if abs(made[i] - gold[j]) <= tolerance:
                out[row] += 1.0
                i += 1
                j += 1
            elif made[i] < gold[j]:
                i += 1
            else:
                j += 1
    return out
