"""From verdicts to votes, and from votes to a decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr_data.judging.journal import Key, Verdict
from asr_data.judging.pairs import Pair
from asr_data.judging.verdict import ORDERS, Order, Pick


@dataclass(frozen=True, slots=True)
class Outcome:
    """A pair with its verdicts, votes and decision.

    Attributes:
        pair: the two answers.
        as_given, swapped: verdict of each judge with this order shown; None where it is missing.
        votes: of each judge, then of each column of people's votes.
        majority: what more than half of all voters vote for; None if there is no majority.
        expert: an expert's decision, if there is one.
    """

    pair: Pair
    as_given: tuple[Pick | None, ...]
    swapped: tuple[Pick | None, ...]
    votes: tuple[Pick | None, ...]
    majority: Pick | None
    expert: Pick | None

    @property
    def decision(self) -> Pick | None:
        """The majority; without one, the expert's decision."""
        return self.majority or self.expert


def vote(as_given: Pick | None, swapped: Pick | None) -> Pick | None:
    """A judge's vote: its verdict if it is the same in both orders, else None."""
    return as_given if as_given == swapped else None


def majority(votes: Sequence[Pick | None]) -> Pick | None:
    """What more than half of all voters vote for. Those without a vote count as voters."""
    pick, count = Counter(votes).most_common(1)[0]
    return pick if 2 * count > len(votes) else None


def outcome(pair: Pair, judges: Sequence[str], verdicts: Mapping[Key, Verdict], expert: Pick | None) -> Outcome:
    """Decide a pair. Identical answers are a tie."""
    if pair.is_identical:
        nothing: tuple[Pick | None, ...] = (None,) * len(judges)
        tie: Pick = "tie"
        return Outcome(pair, nothing, nothing, (tie,) * (len(judges) + len(pair.votes)), tie, expert)
    as_given, swapped = (_in_order(pair, judges, verdicts, order) for order in ORDERS)
    votes = (*(vote(*both) for both in zip(as_given, swapped, strict=True)), *pair.votes)
    return Outcome(pair, as_given, swapped, votes, majority(votes), expert)


def _in_order(
    pair: Pair, judges: Sequence[str], verdicts: Mapping[Key, Verdict], order: Order
) -> tuple[Pick | None, ...]:
    return tuple(verdicts[pair.index, name, order].verdict for name in judges)
