"""What goes wrong between a critic and us: each fault over real HTTP, and what is left of it."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asr_data.critique import RequestSettings
from asr_data.critique.journal import Critique, read_critiques
from asr_data.errors import ConfigError, CriticError
from tests.critique.conftest import KEY, QUIET, ROWS, Ask, by_words, saying
from tests.critique.test_run import rows_of
from tests.judging.server import DROP, HANG, TOKENS_IN, Asked, Fault, JudgeServer, Raw, Reply, Status

ONE = ROWS[:1]
ONCE = QUIET.model_copy(update={"attempts": 1})


def journal(tmp_path: Path) -> list[Critique]:
    return list(read_critiques(tmp_path / "critiqued" / "critiques.jsonl").values())


def refusing(text: str) -> Raw:
    choice = {"message": {"role": "assistant", "content": None, "refusal": text}, "finish_reason": "stop"}
    return Raw(json.dumps({"choices": [choice]}).encode())


@pytest.mark.parametrize("fault", [Status(429), Status(500), Status(503), Status(408), DROP], ids=str)
def test_a_fault_that_passes_is_tried_again(fault: Fault, ask: Ask, server: JudgeServer) -> None:
    server.faults.extend([fault, fault])
    done = ask(ONE)
    assert (done.figures.critics["m"].critiques, len(server.asked)) == (2, 4)
    assert server.asked[0].body["response_format"]["type"] == "json_schema"  # a passing fault is not the format's


def test_a_time_out_is_tried_again(ask: Ask, server: JudgeServer) -> None:
    server.faults.append(HANG)
    done = ask(ONE, requests=RequestSettings(concurrency=1, retries=1, timeout=0.3))
    assert (done.figures.critics["m"].critiques, len(server.asked)) == (2, 3)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply("Nothing is wrong."), "it held no JSON object with faults"),
        (Reply(""), "it held no JSON object with faults"),
        (Reply('{"faults": "none"}'), "its faults were not a list"),
        (Reply(saying("five"), finish_reason="length"), "it was cut off by the limit of tokens"),
        (Reply(saying(), finish_reason="content_filter"), "it was withheld by a filter of contents"),
        (refusing("I can't help."), "the model refused to answer"),
        (Raw(b"<html>Bad gateway</html>", "text/html"), "the server's answer was not a chat completion"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value)[:40],
)
def test_a_reply_of_no_use_is_asked_for_again_and_then_unknown(
    reply: Fault, problem: str, ask: Ask, server: JudgeServer, tmp_path: Path
) -> None:
    server.faults.extend([None, reply, reply])
    done = ask(ONE, requests=QUIET.model_copy(update={"attempts": 2}))
    (row,) = rows_of(done)
    assert (row["chosen_spans"], row["rejected_spans"]) == ([], None)  # nothing wrong is not the same as unknown
    assert row["critique_notes"] == ["rejected_unknown"]
    missing = journal(tmp_path)[1]
    assert (missing.problem, missing.attempts, missing.faults) == (problem, 2, None)
    assert f"An earlier reply could not be used: {problem}" in server.asked[2].text
    refused = "refused" in problem or "withheld" in problem
    assert (missing.refused, done.figures.critics["m"].refused) == (refused, int(refused))
    figures = done.figures.sides["rejected"]
    assert (figures.responses, figures.known, figures.nothing_wrong) == (1, 0, 0)
    assert figures.spans_per_response is None


def test_a_reply_of_no_use_can_be_followed_by_a_good_one(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.faults.append(Reply("Hm \ud83d."))
    done = ask(ONE)
    assert [one.attempts for one in journal(tmp_path)] == [2, 1]
    assert done.figures.critics["m"].tokens_in == 3 * TOKENS_IN


def test_a_critic_that_no_parser_understands_ends_the_run(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    rows = [{**ROWS[0], "prompt": f"p{number}"} for number in range(30)]
    server.rule = lambda asked: f"All is well. {KEY}"
    with pytest.raises(CriticError, match=r"none of its first 10 replies could be read.*'All is well\. \*\*\*'\. A re"):
        ask(rows, requests=ONCE)
    assert (len(server.asked), journal(tmp_path)) == (10, [])
    server.rule = by_words
    assert ask(rows).asked == 60


def test_a_format_that_a_server_does_not_know_is_found_out_once(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.faults.append(Status(400, "response_format.type json_schema is not supported"))
    done = ask()
    formats = [asked.body.get("response_format", {}).get("type") for asked in server.asked]
    assert formats[:2] == ["json_schema", "json_object"]
    assert set(formats[2:]) == {"json_object"}
    assert done.figures.critics["m"].response_format == "json_object"
    manifest = json.loads((done.path / "critique.json").read_text(encoding="utf-8"))
    assert manifest["figures"]["critics"][0]["response_format"] == "json_object"
    more = [*ROWS, {"prompt": "p", "chosen": "a", "rejected": "b"}]
    asked = len(server.asked)
    source_changed = ask(more, output="other")
    assert source_changed.figures.critics["m"].response_format == "json_schema"  # the server takes it now
    assert len(server.asked) > asked


def test_plain_text_where_a_server_knows_no_format(ask: Ask, server: JudgeServer) -> None:
    server.faults.extend([Status(422), Status(400)])
    done = ask(ONE)
    assert "response_format" not in server.asked[2].body
    assert (done.figures.critics["m"].response_format, done.figures.critics["m"].critiques) == ("text", 2)


def test_a_resumed_run_knows_the_format(ask: Ask, server: JudgeServer) -> None:
    server.faults.append(Status(400))
    ask(limit=1)
    before = len(server.asked)
    ask()
    assert {asked.body["response_format"]["type"] for asked in server.asked[before:]} == {"json_object"}


@pytest.mark.parametrize(
    "message", ["This model's maximum context length is 8192 tokens", "context_length_exceeded", "the context window"]
)
def test_a_response_that_does_not_fit_is_unknown(message: str, ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.faults.extend([None, Status(400, message)])
    done = ask()
    assert rows_of(done)[0]["rejected_spans"] is None
    assert message in str(journal(tmp_path)[1].problem)
    assert (done.figures.missing, done.figures.critics["m"].critiques) == (1, 5)


def test_one_that_does_not_fit_comes_first(ask: Ask, server: JudgeServer) -> None:
    server.faults.append(Status(400, "maximum context length"))
    done = ask()
    assert rows_of(done)[0]["chosen_spans"] is None
    assert done.figures.critics["m"].response_format == "json_schema"


def test_a_fault_that_stays_leaves_the_run_unfinished(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.faults.extend([None, *[Status(500, "overloaded")] * 3])
    with pytest.raises(CriticError, match=r"1 of 6 requests failed; row 0, critic 'm' at http.*500: .*overload"):
        ask()
    assert not (tmp_path / "critiqued" / "critique.json").exists()
    assert len(journal(tmp_path)) == 5
    assert ask().asked == 1


def test_a_second_question_that_fails_leaves_the_whole_critique_to_the_next_run(
    ask: Ask, server: JudgeServer, tmp_path: Path
) -> None:
    server.faults.extend([Reply(saying("sixty")), *[Status(500)] * 3])
    with pytest.raises(CriticError, match="1 of 1 requests failed"):
        ask(ONE, side="rejected")
    assert journal(tmp_path) == []
    assert rows_of(ask(ONE, side="rejected"))[0]["critique_notes"] == []


def test_a_second_question_that_does_not_fit_leaves_the_first_answer(
    ask: Ask, server: JudgeServer, tmp_path: Path
) -> None:
    server.faults.extend([Reply(saying("sixty", "five")), Status(400, "maximum context length")])
    ask(ONE, side="rejected")
    (critique,) = journal(tmp_path)
    assert critique.faults is not None
    assert [(one.start, one.end) for one in critique.faults] == [(6, 10)]
    assert [one.quote for one in critique.unplaced] == ["sixty"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_ends_the_run_and_sends_nothing(status: int, ask: Ask, server: JudgeServer) -> None:
    with JudgeServer() as elsewhere:
        server.always = Status(status, headers={"Location": f"{elsewhere.url}/chat/completions"})
        with pytest.raises(CriticError, match=rf"critic 'm' at .* answers with a redirect \({status}\) to"):
            ask()
        assert (len(server.asked), elsewhere.asked) == (1, [])


@pytest.mark.parametrize(("code", "hint"), [(401, "the key is read from OPENAI_API_KEY, which is set"), (404, "404")])
def test_what_is_wrong_for_all_ends_the_run_at_once(code: int, hint: str, ask: Ask, server: JudgeServer) -> None:
    server.always = Status(code, f"wrong key {KEY}")
    with pytest.raises(CriticError, match=hint) as caught:
        ask()
    assert (len(server.asked), KEY in str(caught.value)) == (1, False)


@pytest.mark.parametrize("drip", [b"", b"x" * 65536], ids=["nothing", "without end"])
def test_an_answer_without_end_is_given_up(drip: bytes, ask: Ask) -> None:
    stop = threading.Event()

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while not stop.is_set():
                connection, _ = listening.accept()
                threading.Thread(target=endless, args=(connection,), daemon=True).start()

    def endless(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            while not stop.wait(0.01):
                connection.sendall(b"1\r\n \r\n" if not drip else b"10000\r\n" + drip + b"\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        requests = RequestSettings(concurrency=1, retries=0, timeout=0.5)
        with pytest.raises(CriticError, match="2 of 2 requests failed"):
            ask(ONE, more={"endpoint": url}, requests=requests)
        stop.set()


def test_a_budget_ends_the_run_and_is_kept(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    rows = [{**ROWS[0], "prompt": f"p{number}"} for number in range(10)]
    priced = {"price_in": 10_000.0, "price_out": 0.0}  # a request costs 1
    with pytest.raises(CriticError, match=r"the budget of 3 is spent: 3\.0000 for 3 of 20 critiques"):
        ask(rows, more=priced, requests=QUIET.model_copy(update={"budget": 3.0}))
    assert (len(server.asked), len(journal(tmp_path))) == (3, 3)
    with pytest.raises(CriticError, match=r"the budget of 3 is spent"):
        ask(rows, more=priced, requests=QUIET.model_copy(update={"budget": 3.0}))
    assert len(server.asked) == 3
    done = ask(rows, more=priced, requests=QUIET.model_copy(update={"budget": 20.0}))
    assert (done.asked, done.figures.cost) == (17, 20.0)
    with pytest.raises(ConfigError, match="--budget needs the prices of 'm'"):
        ask(rows, output="other", requests=QUIET.model_copy(update={"budget": 1.0}))


ECHOES: list[Any] = [
    lambda key: Status(400, f"wrong key {key}"),
    lambda key: Reply(f"You sent {key}."),
    lambda key: Reply(saying({"quote": "five", "kind": key, "reason": f"The key is {key}."})),
    lambda key: Reply(saying({"quote": key, "kind": "k", "reason": key})),
    lambda key: Reply(json.dumps({"faults": [{"quote": "five", "reason": "\\u0073" + key[1:]}]}).replace("\\\\", "\\")),
    lambda key: refusing(f"{key}, no"),
]


@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
def test_a_key_that_is_repeated_is_in_no_file(echo: Any, ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.always = echo(KEY)
    ask(ONE, requests=RequestSettings(concurrency=1, retries=0, attempts=1, on_failure="record"))
    for path in (tmp_path / "critiqued").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    assert any(KEY in asked.headers["authorization"] for asked in server.asked)


def test_several_critics_of_which_one_is_down(ask: Ask, server: JudgeServer) -> None:
    def rule(asked: Asked) -> str:
        return by_words(asked) if asked.model == "good" else "Hm."

    server.rule = rule
    done = ask(ROWS, models=("good", "bad"), requests=ONCE)
    assert done.figures.critics["bad"].missing == 6
    assert [row["critique_notes"] for row in rows_of(done)][:2] == [[], []]
