"""Votes, majorities, and figures worked out by hand."""

from __future__ import annotations

import pytest

from asr_data.judging.config import Judge
from asr_data.judging.figures import agreement, figures
from asr_data.judging.journal import Verdict
from asr_data.judging.pairs import Pair
from asr_data.judging.verdict import ORDERS, Pick
from asr_data.judging.votes import majority, outcome, vote

F: Pick = "first"
S: Pick = "second"
T: Pick = "tie"


@pytest.mark.parametrize(
    ("as_given", "swapped", "expected"),
    [(F, F, F), (S, S, S), (T, T, T), (F, S, None), (F, T, None), (None, F, None), (None, None, None)],
)
def test_a_vote_needs_both_orders(as_given: Pick | None, swapped: Pick | None, expected: Pick | None) -> None:
    assert vote(as_given, swapped) == expected


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([F], F),
        ([None], None),
        ([F, S], None),
        ([F, None], None),
        ([F, F, S], F),
        ([F, F, None], F),
        ([T, T, F], T),
        ([F, None, None], None),
        ([F, F, S, S], None),
        ([F, F, S, None], None),
        ([F, F, F, S], F),
    ],
)
def test_a_majority_is_more_than_half_of_all(votes: list[Pick | None], expected: Pick | None) -> None:
    assert majority(votes) == expected


def test_agreement_by_hand() -> None:
    # both have a vote on 4 pairs, 3 alike; chance: first 3/4·2/4, second 1/4·1/4, tie 0·1/4 = 7/16
    value = agreement(("a", "b"), [F, F, F, S, None], [F, F, T, S, F])
    assert (value.share, value.count) == (0.75, 4)
    assert value.kappa == pytest.approx((3 / 4 - 7 / 16) / (1 - 7 / 16))
    assert agreement(("a", "b"), [F, F], [F, F]).kappa is None
    assert agreement(("a", "b"), [F, None], [None, S]).share is None


def test_figures_by_hand() -> None:
    # judge a: pairs 0..2; b: only as given on pair 2
    said: dict[str, list[tuple[Pick | None, Pick | None]]] = {
        "a": [(F, F), (F, S), (S, S)],
        "b": [(F, F), (T, F), (S, None)],
    }
    judges = [Judge(model=name, endpoint="http://h/v1", price_in=1, price_out=2) for name in said]
    pairs = [Pair(index, f"p{index}", "x", "y") for index in range(3)]
    verdicts = {
        (index, name, order): Verdict(
            row=index,
            judge=name,
            order=order,
            verdict=picks[place],
            tokens_in=1000,
            tokens_out=500,
            safety=picks[place],
        )
        for name, rows in said.items()
        for index, picks in enumerate(rows)
        for place, order in enumerate(ORDERS)
    }
    outcomes = [outcome(pair, list(said), verdicts, S if pair.index == 1 else None) for pair in pairs]
    assert [one.votes for one in outcomes] == [(F, F), (None, None), (S, None)]
    found = figures(judges, outcomes, list(verdicts.values()))
    assert found.decisions == {"first": 1, "second": 1, "tie": 0, "undecided": 1}
    assert found.by_expert == 1
    assert (found.win_rate.value, found.win_rate.items) == (pytest.approx((1 + 0 + 0.5) / 3), 3)
    assert (found.win_rate_decided.value, found.win_rate_decided.items) == (0.5, 2)
    a, b = found.judges
    # a, as given: first first second → shown first: yes yes no; swapped: first second second → no yes yes
    assert (a.shown_first.value, a.shown_first.items) == (pytest.approx(4 / 6), 6)
    assert (a.consistent.value, a.consistent.items) == (pytest.approx(2 / 3), 3)
    assert a.win_rate.value == pytest.approx(3 / 6)
    # b, as given: first tie second → yes – no; swapped: first first → no no
    assert (b.shown_first.value, b.shown_first.items) == (pytest.approx(1 / 4), 4)
    assert (b.consistent.value, b.consistent.items) == (pytest.approx(1 / 2), 2)
    assert b.win_rate.value == pytest.approx((1 + 1 + 0.5 + 1 + 0) / 5)
    assert (b.verdicts, b.missing, b.tokens_in) == (5, 1, 6000)
    assert b.cost == pytest.approx((6000 + 3000 * 2) / 1e6)
    assert found.criteria["safety"].value == pytest.approx((3 + 3.5) / 11)
    assert found.criteria["accuracy"].value is None
    assert found.agreement[0].count == 1
    assert [value.who for value in found.expert] == [("majority", "expert"), ("a", "expert"), ("b", "expert")]


def test_the_interval_resamples_prompts_not_answers() -> None:
    judge = Judge(model="m", endpoint="http://h/v1")
    pairs = [Pair(index, "the same prompt", "x", "y") for index in range(4)]
    verdicts = {
        (pair.index, "m", order): Verdict(row=pair.index, judge="m", order=order, verdict=F if pair.index else S)
        for pair in pairs
        for order in ORDERS
    }
    found = figures([judge], [outcome(pair, ["m"], verdicts, None) for pair in pairs], list(verdicts.values()))
    assert (found.win_rate.low, found.win_rate.value, found.win_rate.high) == (0.75, 0.75, 0.75)
