"""What the verdicts say: win rate, position bias, agreement; intervals by resampling prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from asr_data.judging.config import Judge
from asr_data.judging.journal import Verdict
from asr_data.judging.verdict import CRITERIA, Pick
from asr_data.judging.votes import Outcome
from asr_data.statistics.ranking import bootstrap_interval

POINTS: Final[Mapping[Pick | None, float]] = {"first": 1.0, "tie": 0.5, None: 0.5, "second": 0.0}
"""What a pair adds to the win rate of the first column: ties, and pairs that nobody decided, count half."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval, a bootstrap over prompts.

    Attributes:
        value, low, high: None where there was nothing to take a mean of.
        count: number of items.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two agree where both have a vote.

    Attributes:
        who: the two.
        share: of these pairs; None where there are none.
        kappa: Cohen's, which is 0 for agreement by chance; None where chance alone would always agree.
        count: number of pairs.
    """

    who: tuple[str, str]
    share: float | None
    kappa: float | None
    count: int


@dataclass(frozen=True, slots=True)
class JudgeFigures:
    """One judge's own figures.

    Attributes:
        judge: its name.
        verdicts: how many it gave.
        missing: how many it did not give.
        shown_first: share of its verdicts for the answer shown first, ties left out; 0.5 is no position bias.
        consistent: share of pairs with the same verdict in both orders, of those with both verdicts.
        win_rate: of the first column, over its single verdicts; ties count half.
        tokens_in, tokens_out: as the server counted them.
        cost: None where it has no prices.
    """

    judge: str
    verdicts: int
    missing: int
    shown_first: Estimate
    consistent: Estimate
    win_rate: Estimate
    tokens_in: int
    tokens_out: int
    cost: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found.

    Attributes:
        pairs: number of pairs.
        identical: pairs of equal answers, taken as ties.
        decisions: how many pairs went to ``first``, ``second``, ``tie``; ``undecided``: to none of them.
        by_expert: how many of these only an expert decided.
        win_rate: of the first column over all pairs; ties and undecided pairs count half.
        win_rate_decided: the same over decided pairs.
        criteria: criterion to the win rate over all single verdicts.
        judges: one each.
        agreement: of every two judges.
        expert: of the majority and of every judge with the expert.
    """

    pairs: int
    identical: int
    decisions: Mapping[str, int]
    by_expert: int
    win_rate: Estimate
    win_rate_decided: Estimate
    criteria: Mapping[str, Estimate]
    judges: tuple[JudgeFigures, ...]
    agreement: tuple[Agreement, ...]
    expert: tuple[Agreement, ...]


def figures(judges: Sequence[Judge], outcomes: Sequence[Outcome], verdicts: Sequence[Verdict]) -> Figures:
    """All figures.

    Args:
        judges: who was asked.
        outcomes: one per pair.
        verdicts: all verdicts on these pairs.
    """
    prompts = {outcome.pair.index: outcome.pair.prompt for outcome in outcomes}
    decided = [outcome for outcome in outcomes if outcome.decision is not None]
    decisions = Counter(outcome.decision or "undecided" for outcome in outcomes)
    titles = [judge.title for judge in judges]
    votes = {title: [outcome.votes[place] for outcome in outcomes] for place, title in enumerate(titles)}
    expert = [outcome.expert for outcome in outcomes]
    against = {"majority": [outcome.majority for outcome in outcomes], **votes} if len(titles) > 1 else votes
    return Figures(
        pairs=len(outcomes),
        identical=sum(outcome.pair.is_identical for outcome in outcomes),
        decisions={name: decisions[name] for name in ("first", "second", "tie", "undecided")},
        by_expert=sum(outcome.majority is None for outcome in decided),
        win_rate=_estimate((POINTS[outcome.decision], outcome.pair.prompt) for outcome in outcomes),
        win_rate_decided=_estimate((POINTS[outcome.decision], outcome.pair.prompt) for outcome in decided),
        criteria={name: _win_rate((getattr(v, name), prompts[v.row]) for v in verdicts) for name in CRITERIA},
        judges=tuple(
            _judge_figures(judge, place, outcomes, [v for v in verdicts if v.judge == judge.title], prompts)
            for place, judge in enumerate(judges)
        ),
        agreement=tuple(agreement((a, b), votes[a], votes[b]) for a, b in combinations(titles, 2)),
        expert=tuple(agreement((name, "expert"), picks, expert) for name, picks in against.items()),
    )


def agreement(who: tuple[str, str], left: Sequence[Pick | None], right: Sequence[Pick | None]) -> Agreement:
    """Agreement of two lists of votes about the same pairs; pairs where one has no vote are left out."""
    both = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    if not both:
        return Agreement(who, None, None, 0)
    share = sum(a == b for a, b in both) / len(both)
    lefts, rights = Counter(a for a, _ in both), Counter(b for _, b in both)
    chance = sum(lefts[pick] * rights[pick] for pick in lefts) / len(both) ** 2
    return Agreement(who, share, None if chance == 1 else (share - chance) / (1 - chance), len(both))


def _judge_figures(
    judge: Judge, place: int, outcomes: Sequence[Outcome], verdicts: Sequence[Verdict], prompts: Mapping[int, str]
) -> JudgeFigures:
    given = [(v.verdict, v.order, prompts[v.row]) for v in verdicts if v.verdict is not None]
    both = [(o.as_given[place], o.swapped[place], o.pair.prompt) for o in outcomes]
    tokens_in, tokens_out = sum(v.tokens_in for v in verdicts), sum(v.tokens_out for v in verdicts)
    return JudgeFigures(
        judge=judge.title,
        verdicts=len(given),
        missing=len(verdicts) - len(given),
        shown_first=_estimate(
            (float((verdict == "first") == (order == "as_given")), prompt)
            for verdict, order, prompt in given
            if verdict != "tie"
        ),
        consistent=_estimate((float(a == b), prompt) for a, b, prompt in both if a is not None and b is not None),
        win_rate=_win_rate((verdict, prompt) for verdict, _, prompt in given),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=judge.cost(tokens_in, tokens_out),
    )


def _win_rate(picks: Iterable[tuple[Pick | None, str]]) -> Estimate:
    """Over picks that were made."""
    return _estimate((POINTS[pick], prompt) for pick, prompt in picks if pick is not None)


def _estimate(items: Iterable[tuple[float, str]]) -> Estimate:
    """Mean of values and its interval; each value comes with the prompt that it belongs to."""
    pairs = list(items)
    if not pairs:
        return Estimate(None, None, None, 0)
    values, prompts = zip(*pairs, strict=True)
    low, high = bootstrap_interval(values, prompts)
    return Estimate(sum(values) / len(values), low, high, len(values))
