"""``critique`` through the program, and what the other commands make of its output."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from asr_data_cli.app import build_app
from tests.critique.conftest import ROWS, by_words, response, saying
from tests.docs.props import save_policy
from tests.judging.server import Asked, JudgeServer, Status

pytest.importorskip("openai", reason="the package openai is missing: pip install 'asr-data[judge]'")


def write(rows: list[dict[str, Any]], name: str = "pairs.jsonl") -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write(ROWS)
    with JudgeServer(by_words) as running:
        yield running


def command(*words: object) -> Result:
    return CliRunner().invoke(build_app(), [str(word) for word in words])


def critique(server: JudgeServer, *words: object, output: str = "critiqued", source: str = "pairs.jsonl") -> Result:
    asked = ["--endpoint", server.url, "--model", "m", "--concurrency", "1"]
    return command("critique", source, "-o", output, *asked, *words)


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def test_what_is_printed(server: JudgeServer) -> None:
    printed = done(critique(server, "--price-in", 1, "--price-out", 2))
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "rejected: responses 3, 0 unknown, 1 without a fault" in lines
    assert "m: faults 2 placed, 1 asked again, 0 not found, 1 ambiguous" in lines
    assert "m: tokens 700 sent, 70 received" in lines
    assert "m: cost 0.0008" in lines
    assert "asr-annotate run critiqued -o DIR --kind labels --tokenizer POLICY --baseline 0.5" in lines
    assert "asr-annotate train-scorer critiqued -o SCORER" in lines
    assert "critic 6 / 6 critiques" in printed
    assert "warning: 1 of 3 quotes could not be placed" in printed


def test_the_labels_are_rewards_gold_and_in_the_report(server: JudgeServer, make_tokenizer: Callable[..., Any]) -> None:
    save_policy(Path("policy"), make_tokenizer())
    done(critique(server))
    done(command("run", "critiqued", "-o", "out", "--kind", "labels", "--tokenizer", "policy", "--baseline", "0.5"))
    rows = pq.read_table("out/data/train-00000.parquet").to_pylist()
    assert [row["asr_row"] for row in rows] == [0, 1, 2]
    text, starts = rows[0]["rejected"], [*rows[0]["rejected_seg_text_start"], len(ROWS[0]["rejected"])]
    kept = [
        text[start:end]
        for start, end, keep in zip(starts, starts[1:], rows[0]["rejected_seg_keep"], strict=False)
        if keep
    ]
    assert "".join(kept).strip() in ("five", "five.")  # eq. 8: of a rejected response, what is at fault is trained on
    assert all(rows[0]["chosen_mask"])
    done(command("validate", "out"))
    own = done(command("evaluate", "out"))
    assert "the labels of the input" in own
    assert "rejected" in done(command("evaluate", "out", "--gold", "rejected=rejected_spans"))
    assert "five" in done(command("inspect", "out", "--row", 0))
    done(command("report", "out", "-o", "report.html"))
    assert "fact" in Path("report.html").read_text(encoding="utf-8")


def test_the_spans_train_a_scorer_that_scores_the_rest(
    server: JudgeServer, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]
) -> None:
    save_policy(Path("policy"), make_tokenizer())
    make_checkpoint(Path("base"))
    write([{**ROWS[number % 3], "prompt": f"Question {number}?"} for number in range(24)])
    done(critique(server, "--limit", 12, "--side", "rejected"))
    trained = command("train-scorer", "critiqued:labels", "--base", "base", "--lora-rank", 0, *SHORT)
    assert "12 of 12 rows used: 12 labelled responses" in " ".join(done(trained).split())
    done(command("run", "pairs.jsonl", "--model", "scorer", "--tokenizer", "policy", "-o", "out"))
    assert pq.read_table("out/data/train-00000.parquet").num_rows == 24


def test_a_row_of_which_nothing_is_known_has_no_labels(server: JudgeServer, make_tokenizer: Callable[..., Any]) -> None:
    save_policy(Path("policy"), make_tokenizer())
    server.rule = lambda asked: (
        "I cannot." if "five" in response(asked) or "four" in response(asked) else by_words(asked)
    )
    printed = done(critique(server, "--attempts", 1))
    assert "warning: 2 of 6 critiques are missing" in printed
    done(command("run", "critiqued", "-o", "out", "--kind", "labels", "--tokenizer", "policy", "--baseline", "0.5"))
    assert [(row["asr_row"], row["code"]) for row in pq.read_table("out/rejects/train.parquet").to_pylist()] == [
        (0, "no_labels")
    ]


@pytest.mark.parametrize("prefix", ["", "critic_"])
def test_columns_of_other_names_are_read_as_the_command_says(
    prefix: str, server: JudgeServer, make_tokenizer: Callable[..., Any]
) -> None:
    save_policy(Path("policy"), make_tokenizer())
    write([{"question": row["prompt"], "good": row["chosen"], "bad": row["rejected"]} for row in ROWS])
    options = ["--columns", "prompt=question,chosen=good,rejected=bad", "--prefix", prefix]
    printed = done(critique(server, *options))
    shown = next(line for line in printed.splitlines() if "--kind labels" in line)
    words = shown.replace("DIR", "out").replace("POLICY", "policy").split()[1:]
    assert words[-1].endswith(f"chosen_labels={prefix}chosen_spans,rejected_labels={prefix}rejected_spans")
    done(command(*words))
    assert pq.read_table("out/data/train-00000.parquet").num_rows == 3
    sources = next(line for line in printed.splitlines() if "train-scorer" in line).split()
    from asr_data.training.config import SourceConfig
    from asr_data.training.sources import read_source

    found = read_source(SourceConfig.model_validate(sources[2]))
    assert sum(example.goal == "labels" for example in found.examples) == 6


SHORT = ("--max-tokens", 600, "--batch-tokens", 256, "-o", "scorer")
"""Options of a training of some steps."""
SAMPLE = [{**row, "fault_spans": [{"start": 0, "end": 2, "kind": "fact"}]} for row in ROWS]


def test_against_faults_that_are_known(server: JudgeServer, make_tokenizer: Callable[..., Any]) -> None:
    save_policy(Path("policy"), make_tokenizer())
    write(SAMPLE)
    printed = done(critique(server))
    shown = next(line for line in printed.splitlines() if "--kind labels" in line)
    words = shown.replace("DIR", "out").replace("POLICY", "policy").split()[1:]
    done(command(*words))
    assert "fault spans of the rejected side" in " ".join(
        done(command("evaluate", "out", "--gold", "format=fault_pairs")).split()
    )


LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "transcripts": [
        {side: f"\n\nHuman: {row['prompt']}\n\nAssistant: {row[side]}" for side in ("chosen", "rejected")}
        for row in ROWS
    ],
    "conversations": [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")},
        }
        for row in ROWS
    ],
    "completions": [
        {"prompt": row["prompt"], "completions": [row["rejected"], row["chosen"]], "scores": [1, 5]} for row in ROWS
    ],
    "two responses": [
        {"context": row["prompt"], "response1": row["chosen"], "response2": row["rejected"], "overall_preference": -1}
        for row in ROWS
    ],
    "single": [{"prompt": row["prompt"], "completion": row["rejected"], "label": False} for row in ROWS],
    "messages": [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["rejected"]}]}
        for row in ROWS
    ],
    "instruction": [
        {"instruction": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]} for row in ROWS
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_back_with_its_labels(layout: str, server: JudgeServer) -> None:
    from asr_data.rows import detect, first_records, open_source, read_rows

    write(LAYOUTS[layout])
    printed = done(critique(server))
    words = next(line for line in printed.splitlines() if "--kind labels" in line).split()
    columns = words[words.index("--columns") + 1] if "--columns" in words else ""
    given = dict(part.split("=", 1) for part in columns.split(",")) if columns else None
    source = open_source("critiqued")
    found = detect(source.schema, first_records(source), given)
    first = next(iter(read_rows(source, found, 10)))[0]
    faulty = first.completions[-1]  # type: ignore[union-attr]
    text = str(faulty.content if isinstance(faulty.content, str) else faulty.content[-1]["content"]).encode()
    bad = [text[label.start : label.end] for label in faulty.labels or () if label.reward == 0]
    assert bad == [b"five"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no critic: pass --endpoint and --model, or --critics FILE"),
        (["--endpoint", "http://h/v1"], "no critic"),
        (["--endpoint", "h", "--model", "m"], "an endpoint is a URL such as http://localhost:8000/v1"),
        (["--endpoint", "http://u:s3cret@h/v1", "--model", "m"], "an endpoint has no user, password"),
        (["--critics", "c.json", "--model", "m"], "--critics replaces --endpoint"),
        (["--critics", "c.json"], "c.json: cannot be read: No such file or directory"),
        (["--endpoint", "http://h/v1", "--model", "m", "--rubric", "none.txt"], "none.txt: cannot be read"),
        (["--endpoint", "http://h/v1", "--model", "m", "--model", "m"], "two critics have the name 'm'"),
        (["--endpoint", "http://h/v1", "--model", "m", "--budget", "1"], "--budget needs the prices of 'm'"),
        (["--endpoint", "http://h/v1", "--model", "m", "--timeout", "nan"], "timeout"),
        (["--endpoint", "http://h/v1", "--model", "m", "--samples", "2", "--temperature", "0"], "at temperature 0"),
    ],
)  # fmt: skip
def test_wrong_usage(options: list[str], message: str, server: JudgeServer) -> None:
    result = command("critique", "pairs.jsonl", "-o", "critiqued", *options)
    assert (result.exit_code, message in result.output, "s3cret" in result.output) == (2, True, False), result.output
    assert not Path("critiqued").exists()


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"x" * 100_001])
def test_a_rubric_that_is_none(content: bytes, server: JudgeServer) -> None:
    Path("rubric.txt").write_bytes(content)
    assert critique(server, "--rubric", "rubric.txt").exit_code == 2
    assert server.asked == []


def test_rows_whose_texts_are_made_of_several_columns(server: JudgeServer) -> None:
    write([{"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}])
    result = critique(server)
    assert (result.exit_code, "name such columns with --columns" in result.output) == (1, True), result.output


def test_critics_of_a_file_and_three_votes(server: JudgeServer) -> None:
    panel = [{"model": "m", "endpoint": server.url, "name": f"critic [{number}]"} for number in range(3)]
    Path("critics.json").write_text(json.dumps(panel), encoding="utf-8")
    printed = done(command("critique", "pairs.jsonl", "-o", "critiqued", "--critics", "critics.json", "--limit", 1))
    assert "agreement of critic [0] and critic [1]" in printed
    assert "kappa 1.00, F1 1.00" in printed


def test_samples_are_warm_by_default(server: JudgeServer) -> None:
    done(critique(server, "--samples", 2, "--limit", 1))
    assert {asked.body["temperature"] for asked in server.asked} == {0.7}


def test_a_failed_run_says_how_to_go_on(server: JudgeServer) -> None:
    server.always = Status(401, "who are you?")
    result = critique(server)
    assert result.exit_code == 1
    assert "who are you?; the key is read from OPENAI_API_KEY, which is not set" in result.output
    server.always = None
    done(critique(server))


def test_a_full_disk_keeps_the_critiques(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        if len(server.asked) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    result = critique(server)
    assert (result.exit_code, "No space left on device. Critiques so far are kept" in result.output) == (1, True)
    monkeypatch.setattr("os.fsync", lambda _: None)
    done(critique(server))


def test_markup_in_a_response_and_in_a_reply_is_inert(server: JudgeServer) -> None:
    write([{**ROWS[0], "rejected": "[bold]five[/bold] \x1b[31m<script>alert(1)</script>"}])

    def rule(asked: Asked) -> str:
        return saying({"quote": "five", "kind": "[red]<b>", "reason": "<script>\x1b[2J"})

    server.rule = rule
    printed = done(critique(server, "--side", "rejected"))
    assert "\x1b" not in printed
    assert "<script>" not in Path("critiqued/README.md").read_text(encoding="utf-8")
    shutil.rmtree("critiqued")
