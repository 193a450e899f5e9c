"""What goes wrong between a judge and us: each fault over real HTTP, and what is left of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asr_data.endpoints.session import FAILURES_IN_A_ROW
from asr_data.errors import JudgeError
from asr_data.judging import RequestSettings
from asr_data.judging.journal import read_verdicts
from tests.judging.conftest import KEY, QUIET, ROWS, Ask
from tests.judging.server import DROP, HANG, TOKENS_IN, Fault, JudgeServer, Raw, Reply, Status, saying

TWO = ROWS[:1]
"""One pair, so two requests."""


def journal(tmp_path: Path, name: str = "judged") -> list[dict[str, Any]]:
    return [verdict.model_dump() for verdict in read_verdicts(tmp_path / name / "verdicts.jsonl").values()]


@pytest.mark.parametrize("fault", [Status(429), Status(500), Status(503), Status(408), DROP], ids=str)
def test_a_fault_that_passes_is_tried_again(fault: Fault, ask: Ask, server: JudgeServer) -> None:
    server.faults.extend([fault, fault])
    done = ask(TWO)
    assert (done.figures.judges[0].verdicts, done.figures.win_rate.value) == (2, 1.0)
    assert len(server.asked) == 4


def test_a_time_out_is_tried_again(ask: Ask, server: JudgeServer) -> None:
    server.faults.append(HANG)
    done = ask(TWO, requests=RequestSettings(concurrency=1, retries=1, timeout=0.3))
    assert (done.figures.judges[0].verdicts, len(server.asked)) == (2, 3)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply("Answer A is better."), "it held no JSON object with a verdict"),
        (Reply(""), "it held no JSON object with a verdict"),
        (Reply(saying("C")), 'its verdict was not "A", "B" or "tie"'),
        (Reply(saying("A") + saying("B")), "it held several verdicts that differ"),
        (Reply(saying("A"), finish_reason="length"), "it was cut off by the limit of tokens"),
        (Raw(b"<html>Bad gateway</html>", "text/html"), "the server's answer was not a chat completion"),
        (Raw(b"{]"), "the server's answer was not a chat completion"),
        (Raw(b'{"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []}'), "not a chat"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value),
)
def test_a_reply_that_cannot_be_read_is_asked_for_again(
    reply: Fault, problem: str, ask: Ask, server: JudgeServer, tmp_path: Path
) -> None:
    server.faults.append(reply)
    done = ask(TWO)
    assert done.figures.judges[0].verdicts == 2
    first, second = journal(tmp_path)
    assert (first["verdict"], first["attempts"], second["attempts"]) == ("first", 2, 1)
    assert first["tokens_in"] == (2 * TOKENS_IN if isinstance(reply, Reply) else TOKENS_IN)
    assert f"An earlier reply could not be used: {problem}" in server.asked[1].text or problem in server.asked[1].text
    assert "An earlier reply" not in server.asked[2].text


def test_after_the_last_attempt_there_is_no_verdict_and_the_reply_is_kept(
    ask: Ask, server: JudgeServer, tmp_path: Path
) -> None:
    server.faults.extend([Reply("Well …"), Reply("Hm \ud83d.")])
    done = ask(TWO, requests=RequestSettings(concurrency=1, attempts=2))
    figures = done.figures.judges[0]
    assert (figures.verdicts, figures.missing, figures.consistent.items) == (1, 1, 0)
    assert done.figures.decisions["undecided"] == 1
    lost = journal(tmp_path)[0]
    assert (lost["verdict"], lost["attempts"], lost["tokens_in"]) == (None, 2, 2 * TOKENS_IN)
    assert (lost["reply"], lost["problem"]) == ("Hm ?.", "it held no JSON object with a verdict")


def test_a_fault_that_stays_leaves_the_run_unfinished(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.faults.extend([None, *[Status(500, "overloaded")] * 3])
    with pytest.raises(JudgeError, match=r"1 of 8 requests failed; row 0, judge 'm' at http.*500: .*overload"):
        ask()
    assert not (tmp_path / "judged" / "judge.json").exists()
    assert len(journal(tmp_path)) == 7
    done = ask()
    assert (done.asked, done.figures.win_rate.value) == (1, 0.625)


def test_a_fault_that_stays_can_be_taken_as_no_verdict(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.faults.extend([None, Status(400, "the prompt is too long")])
    done = ask(requests=QUIET.model_copy(update={"on_failure": "record"}))
    assert (done.figures.judges[0].verdicts, done.figures.judges[0].missing) == (7, 1)
    (lost,) = (verdict for verdict in journal(tmp_path) if verdict["verdict"] is None)
    assert "400: Error code: 400" in lost["problem"] or "too long" in lost["problem"]
    assert (lost["row"], lost["order"], lost["attempts"]) == (0, "swapped", 0)


@pytest.mark.parametrize("on_failure", ["stop", "record"])
def test_a_judge_that_is_down_is_not_asked_for_ever(
    on_failure: Any, ask: Ask, server: JudgeServer, tmp_path: Path
) -> None:
    server.faults.extend([None, None])
    server.always = Status(500)
    rows = [{**ROWS[0], "prompt": f"p{number}"} for number in range(20)]
    asking = RequestSettings(concurrency=2, retries=0, on_failure=on_failure)
    with pytest.raises(JudgeError, match=f"{FAILURES_IN_A_ROW} requests in a row failed"):
        ask(rows, requests=asking)
    assert len(server.asked) <= 2 + FAILURES_IN_A_ROW + 2  # each of two workers may have one more under way
    assert len(journal(tmp_path)) == 2  # and none of them a failure


def test_pairs_that_a_judge_refuses_do_not_end_the_run(ask: Ask, server: JudgeServer) -> None:
    rows = [{**ROWS[0], "prompt": f"p{number}"} for number in range(6)]
    server.faults.append(None)
    server.always = Status(400, "too long")
    with pytest.raises(JudgeError, match="11 of 12 requests failed"):
        ask(rows)
    assert len(server.asked) == 12
    with pytest.raises(JudgeError, match="5 requests in a row"):  # this one has never answered
        ask(rows, models=("other",), output="other")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, r"401: .*wrong key \*\*\*; the key is read from OPENAI_API_KEY, which is set"),
        (404, "404: .*no such model"),
    ],
)
def test_what_is_wrong_for_all_ends_the_run_at_once(code: int, message: str, ask: Ask, server: JudgeServer) -> None:
    server.always = Status(code, f"wrong key {KEY}" if code == 401 else "no such model")
    with pytest.raises(JudgeError, match=message) as caught:
        ask()
    assert KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_nobody_there(ask: Ask, server: JudgeServer) -> None:
    with pytest.raises(JudgeError, match=r"5 requests in a row .* http://127\.0\.0\.1:9/v1: Connection error"):
        ask(more={"endpoint": "http://127.0.0.1:9/v1"}, requests=RequestSettings(retries=0))


def test_a_journal_line_is_plain(ask: Ask, tmp_path: Path) -> None:
    ask(TWO)
    header, *lines = (tmp_path / "judged" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(header)["plan"]["prompt"] == 1
    assert json.loads(lines[1]) == {
        "row": 0,
        "judge": "m",
        "order": "swapped",
        "verdict": "first",
        "safety": "tie",
        "accuracy": "first",
        "helpfulness": "first",
        "reason": "because",
        "tokens_in": 100,
        "tokens_out": 10,
    }
