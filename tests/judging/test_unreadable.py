"""A judge whose replies no parser knows: said after ten replies, and nothing is recorded of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr_data.endpoints.client import UNREADABLE_REPLIES
from asr_data.errors import JudgeError
from asr_data.judging import RequestSettings
from asr_data.judging.journal import read_verdicts
from tests.judging.conftest import KEY, Ask
from tests.judging.server import JudgeServer, Raw, Reply

MANY = [{"prompt": f"p{number}", "tuned": "good!", "base": "bad"} for number in range(30)]


def one_at_a_time(attempts: int = 1) -> RequestSettings:
    return RequestSettings(concurrency=1, attempts=attempts, retries=0, on_failure="record")


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_form_that_is_not_known_is_said_after_ten_replies(
    attempts: int, ask: Ask, server: JudgeServer, tmp_path: Path
) -> None:
    server.rule = lambda asked: f"Winner: <first> {KEY}"
    message = (
        r"judge 'm' at http.*: none of its first 10 replies could be read.*'Winner: <first> \*\*\*'\. A reply holds"
    )
    with pytest.raises(JudgeError, match=message) as caught:
        ask(MANY, requests=one_at_a_time(attempts))
    assert '{"judge": "[A]"' in str(caught.value)
    assert len(server.asked) == UNREADABLE_REPLIES == 10
    assert read_verdicts(tmp_path / "judged" / "verdicts.jsonl") == {}
    server.rule = lambda asked: '{"judge": "[A]", "tag": ["Safety"], "reason": "reason..."}'
    done = ask(MANY)
    assert (done.asked, done.figures.judges[0].missing) == (60, 0)  # nothing was taken for missing


@pytest.mark.parametrize("fault", [Raw(b"<html>"), Reply('{"verdict": "A"}', "length"), Reply(""), Reply("x" * 10_000)])
def test_other_replies_that_are_of_no_use(fault: Raw | Reply, ask: Ask, server: JudgeServer) -> None:
    server.always = fault
    with pytest.raises(JudgeError, match="none of its first 10 replies could be read") as caught:
        ask(MANY, requests=one_at_a_time())
    assert len(str(caught.value)) < 1_000
    assert len(server.asked) == 10


def test_many_at_once_stop_soon(ask: Ask, server: JudgeServer) -> None:
    server.rule = lambda asked: "Winner: first"
    with pytest.raises(JudgeError, match=r"none of its first 1\d replies could be read"):
        ask(MANY, requests=RequestSettings(concurrency=4))
    assert len(server.asked) <= 10 + 2 * 4


def test_one_reply_that_can_be_read_is_enough(ask: Ask, server: JudgeServer) -> None:
    server.faults.extend([Reply("Hm.")] * 9)
    done = ask(MANY, requests=one_at_a_time(), limit=10)
    assert (done.figures.judges[0].missing, len(server.asked)) == (9, 20)
    server.always = Reply("Hm.")
    assert ask(MANY, requests=one_at_a_time()).figures.judges[0].missing == 9 + 40  # an earlier run has understood it


def test_fewer_replies_than_ten_are_recorded(ask: Ask, server: JudgeServer) -> None:
    server.always = Reply("Hm.")
    done = ask(MANY[:2], requests=one_at_a_time(2))
    assert (done.figures.judges[0].missing, len(server.asked)) == (4, 8)


def test_the_judge_at_fault_is_named_and_the_other_is_kept(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.rule = lambda asked: '{"verdict": "A"}' if asked.model == "good" else "Hm."
    with pytest.raises(JudgeError, match=r"judge 'bad' at .*: none of its first 10"):
        ask(MANY, models=("good", "bad"), requests=one_at_a_time())
    kept = read_verdicts(tmp_path / "judged" / "verdicts.jsonl")
    assert {judge for _, judge, _ in kept} == {"good"}
    assert len(kept) == 10
