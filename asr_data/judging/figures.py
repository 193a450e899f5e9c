"""Win rates, position bias and agreement, with bootstrap intervals over prompts."""

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
from asr_data.statistics.bootstrap import Estimate, GroupBootstrap, Measure

POINTS: Final[Mapping[Pick | None, float]] = {"first": 1.0, "tie": 0.5, None: 0.5, "second": 0.0}
"""What a pair contributes to the win rate of the first column; ties and undecided pairs count half."""

MOST_TAGS: Final = 10
"""Tags of judges are free text; only the most frequent ones get a figure, all are in the config ``verdicts``."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two voters on pairs where both have a vote.

    Attributes:
        who: their names.
        share: of pairs on which they agree; None if there are no pairs.
        kappa: Cohen's kappa, 0 for chance agreement; None if agreement by chance is certain.
        count: number of pairs.
    """

    who: tuple[str, str]
    share: float | None
    kappa: float | None
    count: int


@dataclass(frozen=True, slots=True)
class JudgeFigures:
    """Figures of one judge.

    Attributes:
        judge: its name.
        verdicts: number of verdicts.
        missing: number of missing verdicts.
        shown_first: share of verdicts for the answer shown first, without ties; 0.5 means no position bias.
        consistent: share of pairs with the same verdict in both orders, among pairs with both verdicts.
        win_rate: of the first column, over single verdicts; ties count half.
        tokens_in, tokens_out: as counted by the server.
        cost: None if the judge has no prices.
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
class VoteFigures:
    """Figures of one column of people's votes.

    Attributes:
        column: its name.
        votes: number of votes.
        missing: number of pairs without one.
        win_rate: of the first column, over the votes; ties count half.
    """

    column: str
    votes: int
    missing: int
    win_rate: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of a run.

    Attributes:
        pairs: number of pairs.
        identical: number of pairs with identical answers, which count as ties.
        decisions: number of pairs decided as ``first``, ``second`` and ``tie``, and ``undecided`` ones.
        by_expert: number of pairs decided by the expert alone.
        win_rate: of the first column over all pairs; ties and undecided pairs count half.
        win_rate_decided: the same, over decided pairs only.
        criteria: criterion to the win rate over single verdicts; beside the criteria of the default prompt the
            :data:`MOST_TAGS` most frequent tags.
        judges: figures of each judge.
        people: figures of each column of votes.
        agreement: of every two voters, judges and columns of votes.
        expert: agreement of the majority and of each voter with the expert.
    """

    pairs: int
    identical: int
    decisions: Mapping[str, int]
    by_expert: int
    win_rate: Estimate
    win_rate_decided: Estimate
    criteria: Mapping[str, Estimate]
    judges: tuple[JudgeFigures, ...]
    people: tuple[VoteFigures, ...]
    agreement: tuple[Agreement, ...]
    expert: tuple[Agreement, ...]


def figures(
    judges: Sequence[Judge], outcomes: Sequence[Outcome], verdicts: Sequence[Verdict], people: Sequence[str] = ()
) -> Figures:
    """Compute all figures.

    Args:
        judges: the models that were asked.
        outcomes: one per pair.
        verdicts: all verdicts on these pairs.
        people: columns with votes of people.
    """
    prompts = {outcome.pair.index: outcome.pair.prompt for outcome in outcomes}
    decided = [outcome for outcome in outcomes if outcome.decision is not None]
    decisions = Counter(outcome.decision or "undecided" for outcome in outcomes)
    titles = [*(judge.title for judge in judges), *people]
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
        criteria=_criteria(verdicts, prompts),
        judges=tuple(
            _judge_figures(judge, place, outcomes, [v for v in verdicts if v.judge == judge.title], prompts)
            for place, judge in enumerate(judges)
        ),
        people=tuple(_vote_figures(name, votes[name], outcomes) for name in people),
        agreement=tuple(agreement((a, b), votes[a], votes[b]) for a, b in combinations(titles, 2)),
        expert=tuple(agreement((name, "expert"), picks, expert) for name, picks in against.items()),
    )


def _criteria(verdicts: Sequence[Verdict], prompts: Mapping[int, str]) -> dict[str, Estimate]:
    """Win rates by criterion, and by tag; a verdict counts for all its tags."""
    found = {name: _win_rate((getattr(v, name), prompts[v.row]) for v in verdicts) for name in CRITERIA}
    tags = Counter(tag for verdict in verdicts for tag in verdict.tags if tag not in CRITERIA)
    for tag, _ in sorted(tags.items(), key=lambda item: (-item[1], item[0]))[:MOST_TAGS]:
        found[tag] = _win_rate((v.verdict, prompts[v.row]) for v in verdicts if tag in v.tags)
    return found


def _vote_figures(column: str, votes: Sequence[Pick | None], outcomes: Sequence[Outcome]) -> VoteFigures:
    cast = [(pick, outcome.pair.prompt) for pick, outcome in zip(votes, outcomes, strict=True) if pick is not None]
    return VoteFigures(column, len(cast), len(votes) - len(cast), _win_rate(cast))


def agreement(who: tuple[str, str], left: Sequence[Pick | None], right: Sequence[Pick | None]) -> Agreement:
    """Agreement of two lists of votes on the same pairs; pairs where one has no vote are left out."""
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
    """Win rate over the verdicts that are not missing."""
    return _estimate((POINTS[pick], prompt) for pick, prompt in picks if pick is not None)


def _estimate(items: Iterable[tuple[float, str]]) -> Estimate:
    """Mean and interval of values, each given with its prompt."""
    pairs = list(items)
    if not pairs:
        return Estimate(None, None, None, 0)
    values, prompts = zip(*pairs, strict=True)
    return GroupBootstrap(prompts).estimate(Measure.mean_of(values))
