"""What a user may type as INPUT, through the real program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from asr_data.storage import open_output
from asr_data_cli.app import build_app
from tests.rows.test_layout_files import FILES

PROGRAM = "from asr_data_cli.app import main; main()"
LINE = b'{"prompt": "q", "chosen": "good words here", "rejected": "bad words there"}\n'


@pytest.fixture
def policy(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> str:
    """A directory with a tokenizer."""
    folder = tmp_path / "policy"
    make_tokenizer().hf.save_pretrained(folder)
    return str(folder)


def test_a_pipe(tmp_path: Path, policy: str) -> None:
    out = tmp_path / "out"
    words = ["run", "-", "--format", "jsonl", "-o", str(out), "--kind", "diff", "--tokenizer", policy]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], input=LINE * 3, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = open_output(out).manifest
    assert (manifest.plan.input.description, manifest.plan.input.rows) == ("standard input", 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-"], "say what it holds, as in --format jsonl"),
        (["pairs.txt", "--format", "yaml"], "--format is 'yaml': allowed are parquet"),
        (["-", "--format", "jsonl", "--ray", "auto"], "--ray needs an INPUT that all nodes can read"),
        (["s3://bucket/a.jsonl", "--ray", "auto"], "--ray needs an INPUT that all nodes can read"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(build_app(), ["run", *words, "-o", str(tmp_path / "out"), "--kind", "diff"])
    assert (found.exit_code, found.output.strip().count("\n")) == (2, 0)
    assert message in found.output


def test_a_system_column_that_is_not_read_is_said(tmp_path: Path, policy: str) -> None:
    columns = ["--columns", "prompt=question,chosen=chosen,rejected=rejected", "--kind", "diff", "--tokenizer", policy]
    words = ["run", str(FILES / "orca_dpo.jsonl"), "-o", str(tmp_path / "out"), *columns]
    found = CliRunner().invoke(build_app(), words, env={"COLUMNS": "200"})
    assert found.exit_code == 0, found.output
    assert "not read: system (--columns system=system,… would)" in found.output
