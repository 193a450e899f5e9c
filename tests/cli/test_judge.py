"""``judge`` through the program: what is printed and what is refused."""

from __future__ import annotations

import errno
import json
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from asr_data.errors import JudgeError
from asr_data_cli.app import build_app
from tests.judging.server import JudgeServer, Status, saying

pytest.importorskip("openai", reason="the package openai is missing: pip install 'asr-data[judge]'")

ROWS = [
    {"prompt": "p0", "tuned": "good!", "base": "bad"},
    {"prompt": "p1", "tuned": "good!", "base": "[bold]bad"},
    {"prompt": "p2", "tuned": "same", "base": "same"},
    {"prompt": "p3", "tuned": "", "base": "bad"},
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    with JudgeServer() as running:
        yield running


def judge(*arguments: Any) -> Result:
    words = ["judge", "answers.jsonl", "--first", "tuned", "--second", "base"]
    return CliRunner().invoke(build_app(), [*words, "-o", "judged", *map(str, arguments)])


def asked(server: JudgeServer) -> list[str]:
    return ["--endpoint", server.url, "--model", "m", "--price-in", "1", "--price-out", "2"]


def test_what_is_printed(server: JudgeServer) -> None:
    done = judge(*asked(server), "--concurrency", "1")
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "pairs 3, 1 with identical answers" in lines
    assert "empty_response 1 rejected" in lines
    assert "decided 2 first, 0 second, 1 tie, 0 undecided" in lines
    assert "verdicts 4, 0 missing; 4 requested by this run" in lines
    assert "tokens 400 sent, 40 received" in lines
    assert "cost 0.0005" in lines
    assert any(line.startswith("win rate of first, all pairs 0.83 (") for line in lines)
    assert "judge 4 / 4 verdicts" in done.output
    assert "undecided.csv" not in done.output


def test_files_that_are_left_out_are_named(server: JudgeServer) -> None:
    Path("answers").mkdir()
    for name in ("train", "test"):
        Path(f"answers/{name}.jsonl").write_bytes(Path("answers.jsonl").read_bytes())
    words = ["judge", "answers", "--first", "tuned", "--second", "base", "-o", "judged", *asked(server)]
    done = CliRunner().invoke(build_app(), words)
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "notes split train: reading train.jsonl; not reading test.jsonl" in lines
    assert "pairs 3, 1 with identical answers" in lines


def test_the_undecided_are_pointed_out(server: JudgeServer) -> None:
    server.rule = lambda asked: saying("A")
    done = judge(*asked(server))
    assert "2 pairs are undecided: fill in the column expert of judged/undecided.csv" in done.output
    assert "m: prefers the answer shown first (0.5: no bias)" in done.output


def test_many_missing_verdicts_are_a_warning(server: JudgeServer) -> None:
    server.rule = lambda asked: "I cannot say."
    done = judge(*asked(server), "--attempts", "1")
    assert done.exit_code == 0
    assert "warning: 4 of 4 verdicts are missing; the column problem of config verdicts says why" in done.output


def test_a_file_of_judges(server: JudgeServer) -> None:
    panel = [{"model": "m", "endpoint": server.url, "name": f"judge [{number}]"} for number in range(3)]
    Path("judges.json").write_text(json.dumps(panel), encoding="utf-8")
    done = judge("--judges", "judges.json")
    assert done.exit_code == 0, done.output
    assert "agreement of judge [0] and judge [1]" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no judge: pass --endpoint and --model, --judges FILE"),
        (["--endpoint", "http://h/v1"], "no judge"),
        (["--endpoint", "h", "--model", "m"], "--endpoint is invalid: an endpoint is a URL such as http://local"),
        (
            ["--endpoint", "http://h", "--model", "m", "--max-tokens", "0"],
            "--max-tokens is invalid: expected a wh",
        ),
        (
            ["--endpoint", "http://h", "--model", "m", "--retries", "-1"],
            "--retries is -1: expected a whole number >= 0",
        ),
        (["--judges", "judges.json", "--model", "m"], "--judges replaces --endpoint"),
        (["--judges", "judges.json"], "judges.json: cannot be read: No such file or directory"),
        (["--endpoint", "http://h/v1", "--model", "m", "--reference", "truth"], "--reference truth: no such"),
    ],
)
def test_wrong_usage(options: list[str], message: str, server: JudgeServer) -> None:
    done = judge(*options)
    assert (done.exit_code, message in done.output) == (2, True), done.output
    assert server.asked == []


def test_a_failed_run_says_how_to_go_on(server: JudgeServer) -> None:
    server.always = Status(401, "who are you?")
    done = judge(*asked(server))
    assert done.exit_code == 1
    assert "who are you?; the key is read from OPENAI_API_KEY, which is not set" in done.output
    server.always = None
    assert judge(*asked(server)).exit_code == 0


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        ("", "Invalid JSON"),
        ("[]", "at least 1 item"),
        ("{}", "judges.json: Input should be a valid array"),
        ("[1]", "0: Input should be an object"),
        ('[{"model": "m"}]', "0.endpoint: Field required"),
        ('[{"model": "", "endpoint": "http://h"}]', "0.model"),
        ('[{"model": "m", "endpoint": "http://h:port"}]', "0.endpoint"),
        ('[{"model": "m", "endpoint": "http://h ost/v1"}]', "0.endpoint"),
        ('[{"model": "m", "endpoint": "http://["}]', "0.endpoint"),
        ('[{"model": "m", "endpoint": "http://h/\\u0007"}]', "0.endpoint"),
        ('[{"model": "m", "endpoint": "http://h", "price_in": 1e999}]', "0.price_in"),
        ('[{"model": "m", "endpoint": "http://h", "temperature": "hot"}]', "0.temperature"),
        ('[{"model": "m", "endpoint": "http://h", "extra_body": {"messages": []}}]', "messages of a request is set"),
        ('[{"model": "m", "endpoint": "http://h", "extra_body": {"stream": true}}]', "stream of a request is set"),
        ('[{"model": "m", "endpoint": "http://h", "extra_body": {"token": "s3cret-token"}}]', "hold a secret"),
        ('[{"model": "m", "endpoint": "http://h"}, {"model": "m", "endpoint": "http://h"}]', "have the name 'm'"),
        ("[" * 100_000, "Invalid JSON"),
        ("\udcff", "Invalid JSON"),
    ],
    ids=lambda text: text[:60],
)
def test_an_odd_file_of_judges_is_one_line(panel: str, message: str, server: JudgeServer) -> None:
    Path("judges.json").write_bytes(panel.encode("utf-8", "surrogateescape"))
    done = judge("--judges", "judges.json")
    (line,) = [line for line in done.output.splitlines() if line.startswith("error:")]
    assert (done.exit_code, message in line, "s3cret" in done.output) == (2, True, False), done.output
    assert "foreseen" not in done.output
    assert server.asked == []


def test_a_file_of_judges_with_a_byte_order_mark(server: JudgeServer) -> None:
    text = json.dumps([{"model": "m", "endpoint": server.url}])
    Path("judges.json").write_text(text, encoding="utf-8-sig")
    assert judge("--judges", "judges.json").exit_code == 0


@pytest.mark.parametrize("option", [("--timeout", "nan"), ("--timeout", "inf"), ("--price-in", "nan")])
def test_numbers_that_are_none(option: tuple[str, str], server: JudgeServer) -> None:
    done = judge("--endpoint", server.url, "--model", "m", *option)
    assert (done.exit_code, "foreseen" in done.output) == (2, False), done.output


def test_more_concurrency_than_verdicts(server: JudgeServer) -> None:
    assert judge(*asked(server), "--concurrency", "1000000000").exit_code == 0
    assert server.busiest <= 4


@pytest.mark.parametrize("kind", ["file", "link to nowhere", "below a file"])
def test_an_output_that_cannot_be(kind: str, server: JudgeServer) -> None:
    output = Path("out")
    if kind == "link to nowhere":
        output.symlink_to("nowhere")
    else:
        output.write_text("text", encoding="utf-8")
    place = output / "below" if kind == "below a file" else output
    done = judge(*asked(server), "-o", place)
    (line,) = [line for line in done.output.splitlines() if line.startswith("error:")]
    assert (done.exit_code, "directory" in line, "foreseen" in done.output) == (1, True, False), done.output
    assert server.asked == []


def test_a_full_disk_keeps_the_verdicts(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        if len(server.asked) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    done = judge(*asked(server), "--concurrency", "1")
    assert (done.exit_code, "foreseen" in done.output) == (1, False)
    assert "No space left on device. Verdicts so far are kept" in done.output
    monkeypatch.setattr("os.fsync", lambda _: None)
    assert judge(*asked(server)).exit_code == 0
    assert len(server.asked) == 4  # a line that was written counts, although it was not known to be on disk


def test_a_key_is_in_no_traceback(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-DummyKeyForTests")
    server.always = Status(401, "wrong: Bearer sk-DummyKeyForTests")
    words = ["--debug", "judge", "answers.jsonl", "--first", "tuned", "--second", "base", "-o", "judged"]
    done = CliRunner().invoke(build_app(), [*words, *asked(server)])
    assert isinstance(done.exception, JudgeError)
    shown = "".join(traceback.format_exception(done.exception))
    assert "wrong: Bearer ***" in shown
    assert "sk-Dummy" not in shown + done.output


def test_a_prompt_and_votes_of_people(server: JudgeServer) -> None:
    rows = [{**row, "ann": "first", "bob": "second"} for row in ROWS[:2]]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = "${prompt}\n[Answer A]\n${Answer A}\n[Answer B]\n${Answer B}\n[End]"
    Path("prompt.txt").write_text(text, encoding="utf-8")
    done = judge(*asked(server), "--prompt", "prompt.txt", "--votes", "ann", "--votes", "bob")
    assert done.exit_code == 0, done.output
    assert "decided 2 first, 0 second, 0 tie, 0 undecided" in " ".join(done.output.split())
    assert "bob: win rate of first" in done.output


@pytest.mark.parametrize(
    ("text", "message"),
    [("${prompt}", "error: prompt.txt: the field ${answer_a} is missing"), ("${x}", "'${x}' is not a field")],
)
def test_a_prompt_that_is_none_is_said_before_anything_is_sent(text: str, message: str, server: JudgeServer) -> None:
    Path("prompt.txt").write_text(text, encoding="utf-8")
    done = judge(*asked(server), "--prompt", "prompt.txt")
    assert (done.exit_code, message in done.output, server.asked) == (2, True, []), done.output
    assert not Path("judged").exists()


def test_a_form_that_no_parser_knows_ends_the_run(server: JudgeServer) -> None:
    rows = [{**ROWS[0], "prompt": f"p{number}"} for number in range(60)]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    server.rule = lambda asked: "The first one."
    done = judge(*asked(server), "--concurrency", "1")
    assert (done.exit_code, len(server.asked)) == (1, 10)
    assert "none of its first 10 replies could be read" in done.output
    assert "'The first one.'" in done.output
