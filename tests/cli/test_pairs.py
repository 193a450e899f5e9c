"""``--pairs`` and ``--min-gap`` through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from asr_data.storage import open_output, validate
from asr_data_cli.app import build_app
from tests.rows.test_layout_files import FILES

ROWS = [
    {"prompt": "Name a color.", "completions": ["Blue it is.", "Red, or so.", "Seven."], "scores": [3.0, 2.0, 1.5]},
    {"prompt": "Say hello.", "completions": ["Hello there.", "Go away."], "scores": [5.0, 5.0]},
]


@pytest.fixture
def invoke(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> Callable[..., Result]:
    folder = tmp_path / "policy"
    make_tokenizer().hf.save_pretrained(folder)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def call(command: str, *words: str, source: Path = tmp_path / "rows.jsonl") -> Result:
        given = [command, str(source), "-o", str(tmp_path / "out"), "--kind", "diff"]
        policy = [] if command == "score" else ["--tokenizer", str(folder)]
        return CliRunner().invoke(build_app(), [*given, *policy, *words], env={"COLUMNS": "200"})

    return call


def pairs_in(path: Path) -> list[tuple[int, int]]:
    return [
        (row["asr_row"], row["asr_pair"]) for batch in open_output(path).data_batches() for row in batch.to_pylist()
    ]


def test_run_says_how_many_pairs_and_can_be_queried(invoke: Any, tmp_path: Path) -> None:
    found = invoke("run", "--pairs", "all", "--min-gap", "1")
    assert found.exit_code == 0, found.output
    assert "a pair of each two answers, at least 1 apart" in found.output
    assert "4 = 2 annotated + 2 rejected (or whole rows rejected)" in found.output
    assert pairs_in(tmp_path / "out") == [(0, 0), (0, 1)]
    assert validate(tmp_path / "out") == []
    sql = "SELECT asr_row, asr_pair, code FROM rejects ORDER BY asr_row"
    told = CliRunner().invoke(build_app(), ["query", str(tmp_path / "out"), sql, "--csv"])
    assert told.output.splitlines() == ["asr_row,asr_pair,code", "0,2,small_gap", "1,,no_preference"]
    shown = CliRunner().invoke(build_app(), ["inspect", str(tmp_path / "out"), "--row", "0"], env={"COLUMNS": "200"})
    assert [f"row 0, pair {pair}" in shown.output for pair in (0, 1, 2)] == [True, True, False]
    other = invoke("run", "--pairs", "adjacent")
    assert other.exit_code == 1
    assert 'layout.pairs.rule: was "all", now "adjacent"' in other.output


def test_score(invoke: Any, tmp_path: Path) -> None:
    found = invoke("score", "--pairs", "best-rest")
    assert found.exit_code == 0, found.output
    assert pairs_in(tmp_path / "out") == [(0, 0), (0, 1)]


def test_plan_says_how_many_pairs(invoke: Any) -> None:
    found = invoke("plan", "--pairs", "all")
    assert found.exit_code == 0, found.output
    assert "4 of these, 3 can be annotated" in found.output
    assert "row 0, pair 0: prompt, tokens" in found.output
    dry = invoke("run", "--pairs", "all", "--dry-run")
    assert "4 of these, 3 can be annotated" in dry.output


def test_a_config_file_knows_both(invoke: Any, tmp_path: Path) -> None:
    saved = tmp_path / "run.yaml"
    assert invoke("plan", "--pairs", "all", "--min-gap", "1", "--save", str(saved)).exit_code == 0
    text = saved.read_text()
    assert "pairs: all" in text
    assert "min-gap: 1.0" in text
    found = CliRunner().invoke(build_app(), ["run", "--config", str(saved)])
    assert found.exit_code == 0, found.output
    assert pairs_in(tmp_path / "out") == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["--pairs", "most"], ["'most' is not one of", "best-rest"]),
        (["--min-gap", "-1"], ["'--min-gap'", "greater than or equal to 0"]),
        (["--min-gap", "nan"], ["'--min-gap'", "greater than or equal to 0"]),
        (["--min-gap", "inf"], ["PairConfig.min_gap is inf: expected a finite number >= 0"]),
    ],
)
def test_wrong_usage(invoke: Any, words: Sequence[str], messages: Sequence[str]) -> None:
    found = invoke("run", *words)
    assert found.exit_code == 2
    assert all(message in found.output for message in messages), found.output


@pytest.mark.parametrize(("words", "asked"), [(["--pairs", "all"], "--pairs all"), (["--min-gap", "2"], "--min-gap 2")])
@pytest.mark.parametrize("name", ["orca_dpo.jsonl", "webgpt.jsonl", "kto_response.jsonl"])
def test_rows_without_several_answers(invoke: Any, words: Sequence[str], asked: str, name: str) -> None:
    found = invoke("run", *words, source=FILES / name)
    assert (found.exit_code, found.output.strip().count("\n")) == (2, 0)
    assert f"{asked} is for rows with several answers that have scores, ranks or verdicts" in found.output
