"""Votes of people beside those of models: one majority, and what it leaves to the expert."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import ConfigError, InputError
from asr_data.judging.output import PAIRS_SCHEMA
from tests.judging.conftest import ROWS, Ask
from tests.judging.server import JudgeServer, saying
from tests.judging.test_run import load

PEOPLE = ("ann", "bob", "cyd")
VOTES = [  # the model's vote, those of three people, and the majority of the four
    (ROWS[0], ("first", "first", "second"), "first"),
    (ROWS[0], ("second", "second", "first"), None),  # two and two
    (ROWS[0], ("second", "second", "second"), "second"),
    (ROWS[0], ("first", "second", "tie"), None),  # two of four are not more than half
    (ROWS[2], ("tie", "tie", "second"), "tie"),
    (ROWS[0], ("first", "", ""), None),
    (ROWS[0], ("A", "[B]", "first"), "first"),
    (ROWS[2], ("C", "b", "TIE"), "tie"),
]


def rows() -> list[dict[str, Any]]:
    return [
        {**row, "prompt": f"p{number}", **dict(zip(PEOPLE, votes, strict=True))}
        for number, (row, votes, _) in enumerate(VOTES)
    ]


def test_one_majority_over_models_and_people(ask: Ask, tmp_path: Path) -> None:
    done = ask(rows(), votes=PEOPLE)
    pairs = load(done.path, "default", tmp_path)
    assert pairs.features.arrow_schema.names == PAIRS_SCHEMA.names
    assert pairs["majority"] == [majority for _, _, majority in VOTES]
    assert pairs[0]["votes"] == ["first", "first", "first", "second"]
    assert pairs[0]["as_given"] == ["first"]
    assert pairs[5]["votes"] == ["first", "first", None, None]
    assert done.figures.decisions == {"first": 2, "second": 1, "tie": 2, "undecided": 3}
    ann = done.figures.people[0]
    assert (ann.column, ann.votes, ann.missing) == ("ann", 8, 0)
    assert ann.win_rate.value == pytest.approx((1 + 0 + 0 + 1 + 0.5 + 1 + 1 + 0.5) / 8)
    assert (done.figures.people[1].votes, done.figures.people[1].missing) == (7, 1)
    agreement = {one.who: (one.share, one.count) for one in done.figures.agreement}
    assert agreement["m", "ann"] == (pytest.approx(6 / 8), 8)
    assert len(agreement) == 6
    content = json.loads((done.path / "judge.json").read_bytes())
    assert content["voters"] == ["m", *PEOPLE]
    assert content["columns"]["votes"] == list(PEOPLE)
    assert "People voted in ann, bob, cyd." in (done.path / "README.md").read_text(encoding="utf-8")


def test_what_is_not_decided_goes_to_the_expert(ask: Ask) -> None:
    done = ask(rows(), votes=PEOPLE)
    pile = done.path / "undecided.csv"
    with pile.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == ["1", "3", "5"]
    text = pile.read_text(encoding="utf-8-sig").replace("\n3,,", "\n3,second,").replace("\r\n3,,", "\r\n3,second,")
    pile.write_text(text, encoding="utf-8-sig")
    again = ask(rows(), votes=PEOPLE)
    assert (again.asked, again.figures.by_expert, again.figures.decisions["second"]) == (0, 1, 2)


def test_people_alone(ask: Ask, server: JudgeServer) -> None:
    done = ask(rows()[:3], models=(), votes=PEOPLE)
    assert server.asked == []
    assert done.figures.decisions == {"first": 1, "second": 2, "tie": 0, "undecided": 0}
    assert (done.figures.judges, done.cost) == ((), None)


def test_votes_may_come_later(ask: Ask, server: JudgeServer) -> None:
    ask(rows())
    asked = len(server.asked)
    done = ask(rows(), votes=PEOPLE[:1])
    assert (done.asked, len(server.asked)) == (0, asked)
    assert done.figures.people[0].votes == 8


def test_votes_on_answers_that_are_the_same_do_not_count(ask: Ask, tmp_path: Path) -> None:
    same = {"prompt": "p", "tuned": "same", "base": "same", "ann": "first"}
    done = ask([same, {**ROWS[0], "ann": "first"}], votes=("ann",))
    assert load(done.path, "default", tmp_path)["votes"] == [["tie", "tie"], ["first", "first"]]


@pytest.mark.parametrize("value", ["tuned", "1", "A B", "yes", "[[", "first!"])
def test_a_vote_that_is_none(value: str, ask: Ask, server: JudgeServer) -> None:
    bad = [*rows()[:2], {**ROWS[0], "ann": value}]
    with pytest.raises(
        InputError, match=r"row 2, column 'ann': a vote is first \(or A\), second \(or B\), tie \(or C\)"
    ):
        ask(bad, votes=("ann",))
    assert server.asked == []


@pytest.mark.parametrize(
    ("votes", "models", "message"),
    [
        (("nobody",), ("m",), "--votes nobody: no such column"),
        (("ann", "ann"), ("m",), "two voters have the name 'ann'"),
        (("ann",), ("ann",), "two voters have the name 'ann'"),
        ((), (), "no judge: name a model and an endpoint, or columns"),
    ],
)
def test_voters_that_cannot_be(
    votes: tuple[str, ...], models: tuple[str, ...], message: str, ask: Ask, server: JudgeServer
) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(rows(), votes=votes, models=models)
    assert server.asked == []


def test_votes_that_are_numbers_are_refused(ask: Ask) -> None:
    with pytest.raises(ConfigError, match="--votes ann: its type is int64; it must be text"):
        ask([{**ROWS[0], "ann": 1}], votes=("ann",))


def test_a_biased_judge_counts_as_a_voter_without_a_vote(ask: Ask, server: JudgeServer) -> None:
    server.rule = lambda asked: saying("A")
    done = ask(rows()[:3], votes=PEOPLE)
    assert done.figures.decisions == {"first": 0, "second": 1, "tie": 0, "undecided": 2}
