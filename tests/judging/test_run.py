"""Judging against a server on loopback: what is asked, what is written, what is found."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from asr_data.errors import ConfigError, InputError, OutputExistsError
from asr_data.judging import Judge, RequestSettings, judge
from asr_data.judging.output import PAIRS_SCHEMA, VERDICTS_SCHEMA
from asr_data.rows import detect, first_records, open_source
from tests.judging.conftest import KEY, ROWS, Ask
from tests.judging.server import Asked, JudgeServer, by_goodness, saying


def load(path: Path, config: str, tmp_path: Path) -> datasets.Dataset:
    return datasets.load_dataset(str(path), config, split="train", cache_dir=str(tmp_path / "cache"))


def test_both_orders_are_asked_and_the_win_rate_is_right(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    done = ask()
    shown = [asked.answers for asked in server.asked]
    assert shown == [pair for row in ROWS for pair in ((row["tuned"], row["base"]), (row["base"], row["tuned"]))]
    found = done.figures
    assert found.decisions == {"first": 2, "second": 1, "tie": 1, "undecided": 0}
    assert found.win_rate.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert (found.judges[0].verdicts, found.judges[0].missing, done.asked) == (8, 0, 8)
    assert found.judges[0].consistent.value == 1.0
    assert found.judges[0].shown_first.value == 0.5
    assert found.criteria["safety"].value == 0.5
    assert found.criteria["accuracy"].value == pytest.approx(0.625)

    pairs = load(done.path, "default", tmp_path)
    assert pairs.features == datasets.Features.from_arrow_schema(PAIRS_SCHEMA)
    assert pairs["majority"] == ["first", "second", "tie", "first"]
    assert pairs["decision"] == pairs["majority"]
    assert pairs[1]["as_given"] == pairs[1]["swapped"] == pairs[1]["votes"] == ["second"]
    assert [(row["prompt"], row["first"], row["second"]) for row in pairs] == [tuple(row.values()) for row in ROWS]
    verdicts = load(done.path, "verdicts", tmp_path)
    assert verdicts.features == datasets.Features.from_arrow_schema(VERDICTS_SCHEMA)
    assert verdicts["order"] == ["as_given", "swapped"] * 4
    assert verdicts["verdict"][:2] == ["first", "first"]
    assert set(verdicts["reason"]) == {"because"}


def test_a_judge_that_always_picks_the_first_has_no_vote(ask: Ask, server: JudgeServer) -> None:
    server.rule = lambda asked: saying("A")
    found = ask().figures
    assert found.decisions == {"first": 0, "second": 0, "tie": 0, "undecided": 4}
    assert found.win_rate.value == 0.5
    assert found.win_rate_decided.items == 0
    assert found.judges[0].shown_first.value == 1.0
    assert found.judges[0].consistent.value == 0.0
    assert found.judges[0].win_rate.value == 0.5


def test_a_majority_outvotes_a_biased_judge(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    def rule(asked: Asked) -> str:
        return saying("A") if asked.model == "biased" else by_goodness(asked)

    server.rule = rule
    done = ask(models=("fair", "biased", "fair too"))
    assert done.figures.decisions == {"first": 2, "second": 1, "tie": 1, "undecided": 0}
    assert [row["votes"] for row in load(done.path, "default", tmp_path)][:2] == [
        ["first", None, "first"],
        ["second", None, "second"],
    ]
    by_pair = {value.who: (value.share, value.kappa, value.count) for value in done.figures.agreement}
    assert by_pair == {
        ("fair", "biased"): (None, None, 0),
        ("fair", "fair too"): (1.0, 1.0, 4),
        ("biased", "fair too"): (None, None, 0),
    }
    assert ask(models=("fair", "biased"), output="two").figures.decisions["undecided"] == 4


def test_the_expert_decides_what_the_judges_cannot(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    def rule(asked: Asked) -> str:
        return saying("A") if asked.part("REQUEST") in ("p1", "p3") else by_goodness(asked)

    server.rule = rule
    done = ask()
    pile = done.path / "undecided.csv"
    lines = pile.read_text(encoding="utf-8-sig").splitlines()
    assert lines == ["row,expert,prompt,first,second,reference", "1,,p1,bad,good!,", "3,,p3,good!!,bad,"]
    pile.write_text("\n".join([lines[0], lines[1].replace(",,", ",Second,", 1), lines[2]]), encoding="utf-8")
    again = ask()
    assert again.asked == 0
    assert again.figures.decisions == {"first": 1, "second": 1, "tie": 1, "undecided": 1}
    assert again.figures.by_expert == 1
    rows = load(done.path, "default", tmp_path)
    assert rows["expert"] == [None, "second", None, None]
    assert rows["undecided"] == [False, True, False, True]
    assert rows["decision"] == ["first", "second", "tie", None]
    assert "1,second,p1,bad,good!," in pile.read_text(encoding="utf-8-sig").splitlines()
    pile.write_text("row,expert\n1,tuned\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"undecided\.csv, line 2: an expert's decision is first, second or tie"):
        ask()


def test_agreement_with_an_expert_column(ask: Ask) -> None:
    rows = [{**row, "who": who} for row, who in zip(ROWS, ["first", "first", None, "first"], strict=True)]
    done = ask(rows, expert="who")
    (value,) = done.figures.expert
    assert (value.who, value.count, value.share) == (("m", "expert"), 3, pytest.approx(2 / 3))
    assert value.kappa == pytest.approx(0.0)  # the expert always says first: agreement by chance is 2/3
    assert done.figures.decisions["second"] == 1
    with pytest.raises(ConfigError, match="--expert nobody: no such column; the columns are prompt"):
        ask(rows, expert="nobody", output="other")
    with pytest.raises(InputError, match=r"row 0, column 'who': an expert's decision is first, second or tie"):
        ask([{**ROWS[0], "who": "the left one"}], expert="who", output="other")


def test_equal_answers_are_a_tie_and_cost_nothing(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    rows = [ROWS[0], {"prompt": "p", "tuned": "same", "base": "same"}, {"prompt": "p", "tuned": "", "base": "some"}]
    done = ask(rows)
    assert len(server.asked) == 2
    assert (done.figures.pairs, done.figures.identical, done.rejects) == (2, 1, {"empty_response": 1})
    assert done.figures.win_rate.value == 0.75
    (reject,) = load(done.path, "rejects", tmp_path)
    assert (reject["asr_row"], reject["code"]) == (2, "empty_response")
    with pytest.raises(InputError, match="no row has two answers to compare; row 0: empty_response"):
        ask(rows[2:], output="other")


def test_the_reference_is_shown_where_there_is_one(ask: Ask, server: JudgeServer) -> None:
    rows = [{**ROWS[0], "truth": "It is four."}, {**ROWS[1], "truth": " "}]
    ask(rows, reference="truth")
    assert [asked.part("REFERENCE ANSWER") for asked in server.asked] == ["It is four."] * 2 + [None] * 2


def test_the_limit_may_grow(ask: Ask, server: JudgeServer) -> None:
    assert ask(limit=1).figures.pairs == 1
    more = ask(limit=3)
    assert (more.figures.pairs, more.asked, len(server.asked)) == (3, 4, 6)
    fewer = ask(limit=2)
    assert (fewer.figures.pairs, fewer.asked, fewer.figures.judges[0].verdicts) == (2, 0, 4)


def test_cost_and_progress(ask: Ask) -> None:
    notes: list[tuple[int, int, int, str, str]] = []

    class Told:
        def update(self, stage: str, rows: int, total: int, tokens: int, *, unit: str, note: str) -> None:
            notes.append((rows, total, tokens, unit, note))

    done = ask(progress=Told(), more={"price_in": 10_000, "price_out": 100_000})
    # 100 tokens in and 10 out: 1 + 1 per verdict
    assert done.cost == pytest.approx(16)
    assert notes[0] == (0, 8, 0, "verdicts", "")
    assert notes[2] == (2, 8, 220, "verdicts", "cost 4.00 of about 16.00")
    assert notes[-1] == (8, 8, 880, "verdicts", "cost 16.00 of about 16.00")
    assert ask(output="no prices").cost is None
    assert ask(more={"price_in": 20_000, "price_out": 0}).cost == pytest.approx(16)


def test_requests_run_at_once_up_to_the_limit(ask: Ask, server: JudgeServer) -> None:
    three = threading.Barrier(3)

    def rule(asked: Asked) -> str:
        three.wait(timeout=30)  # breaks where fewer than three are there at once
        return by_goodness(asked)

    server.rule = rule
    done = ask(
        [{"prompt": f"p{i}", "tuned": "a!", "base": "b"} for i in range(6)], requests=RequestSettings(concurrency=3)
    )
    assert server.busiest == 3
    assert done.figures.win_rate.value == 1.0


def test_what_is_sent(ask: Ask, server: JudgeServer) -> None:
    ask(ROWS[:1], more={"max_tokens": 7})
    (asked, _) = server.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert {key: value for key, value in asked.body.items() if key != "messages"} == {
        "model": "m",
        "max_tokens": 7,
        "temperature": 0.0,
    }
    settings = {
        "token_limit": "max_completion_tokens",
        "temperature": None,
        "response_format": "json_schema",
        "system_role": False,
        "extra_body": {"top_k": 1},
    }
    ask(ROWS[:1], more=settings, output="other")
    body = server.asked[-1].body
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert body["response_format"]["json_schema"]["schema"]["required"][-1] == "verdict"
    assert body["top_k"] == 1
    assert "temperature" not in body
    assert body["max_completion_tokens"] == 1024


def test_the_key_is_written_nowhere(ask: Ask) -> None:
    done = ask()
    for path in done.path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_an_output_is_never_mixed(ask: Ask, tmp_path: Path, server: JudgeServer) -> None:
    ask()
    with pytest.raises(OutputExistsError, match=r"judges\.m\.temperature: was 0\.0, now 1\.0"):
        ask(more={"temperature": 1})
    with pytest.raises(OutputExistsError, match="input: was"):
        ask(ROWS[:2])
    assert ask(overwrite=True, more={"temperature": 1}).asked == 8
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    for flags in ({}, {"overwrite": True}):
        with pytest.raises(OutputExistsError, match=r"contains notes\.txt and no verdicts"):
            ask(output="foreign", **flags)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExistsError, match="not a directory"):
        ask(output="file")


def test_the_manifest_says_what_was_done(ask: Ask) -> None:
    done = ask(models=("a", "b"))
    content = json.loads((done.path / "judge.json").read_bytes())
    assert content["columns"] == {"first": "tuned", "second": "base", "reference": None, "expert": None, "votes": []}
    assert [judge["model"] for judge in content["judges"]] == ["a", "b"]
    assert content["figures"]["win_rate"]["value"] == 0.625
    assert [file["path"] for file in content["files"]] == ["data/train-00000.parquet", "verdicts/train-00000.parquet"]
    assert content["input"]["rows"] == 4


def test_single_responses_cannot_be_judged(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    source = open_source(write_rows([{"prompt": "p", "completion": "c"}]))
    layout = detect(source.schema, first_records(source))
    with pytest.raises(InputError, match="has one response per row, and judging needs two"):
        judge(source, layout, tmp_path / "out", [Judge(model="m", endpoint="http://localhost:1/v1")])


@pytest.mark.parametrize(
    ("judges", "message"),
    [([], "no judge"), ([Judge(model="m", endpoint="http://h/v1")] * 2, "two judges have the name 'm'")],
)
def test_a_panel_that_cannot_be(judges: list[Judge], message: str, write_rows: Callable[..., Path]) -> None:
    source = open_source(write_rows([{"prompt": "p", "chosen": "c", "rejected": "r"}]))
    with pytest.raises(ConfigError, match=message):
        judge(source, detect(source.schema, first_records(source)), Path("nowhere"), judges)


def test_conversations_and_running_event_loops(
    server: JudgeServer, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    def turns(*contents: str) -> list[dict[str, str]]:
        return [
            {"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, contents, strict=False)
        ]

    rows: list[dict[str, Any]] = [
        {"chosen": turns("Hi.", "Hello.", "How?", "So!"), "rejected": turns("Hi.", "Hello.", "How?", "No.")}
    ]
    source = open_source(write_rows(rows))
    layout = detect(source.schema, first_records(source))

    async def in_a_notebook() -> float | None:
        return judge(source, layout, tmp_path / "out", [Judge(model="m", endpoint=server.url)]).figures.win_rate.value

    assert asyncio.run(in_a_notebook()) == 1.0
    assert server.asked[0].part("REQUEST") == "user:\nHi.\n\nassistant:\nHello.\n\nuser:\nHow?"
    assert sorted(server.asked[0].answers) == ["No.", "So!"]
