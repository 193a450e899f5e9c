"""Standard streams that are a closed or a full disk, and runs without a single annotated row: the real program."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from asr_data.text import Tokenizer
from asr_data_cli.app import build_app
from tests.export.conftest import PAIRS, Workshop

PROGRAM = (sys.executable, "-c", "from asr_data_cli.app import main; main()")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("words", [("--help",), ("--version",), ("scorers",)])
def test_a_full_disk_is_one_line(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert done.returncode == 1
    assert done.stderr == "error: output cannot be written: No space left on device\n"


def test_a_closed_pipe_is_one_line() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*PROGRAM, "scorers"], stdout=write, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == "error: standard output was closed before everything was written\n"


@pytest.mark.parametrize("command", ["run", "score"])
@pytest.mark.parametrize("flags", [(), ("--strict",)])
def test_a_run_in_which_every_row_was_rejected_fails(
    command: str,
    flags: tuple[str, ...],
    tmp_path: Path,
    make_tokenizer: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_tokenizer().hf.save_pretrained(tmp_path / "policy")
    Path("pairs.jsonl").write_text(
        "".join(
            json.dumps({"prompt": f"Question {i}?", "chosen": "Same.", "rejected": "Same."}) + "\n" for i in range(3)
        )
    )
    Path("all_alike.py").write_text("def score(prompt, response):\n    return [(0, len(response), 1.0)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    words = [command, "pairs.jsonl", "-o", "out", "--kind", "rule", "--model", "all_alike:score", *flags]
    words += ["--tokenizer", "policy"] if command == "run" else []
    done = CliRunner().invoke(build_app(), words)
    assert done.exit_code == 1, done.output
    assert "error: none of the 3 rows could be annotated: identical_sides 3; see out/rejects" in done.output
    assert "Next" not in done.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("words", [("inspect", "annotated"), ("mask", "annotated", "-o", "masked")])
def test_a_command_that_writes_to_a_full_disk(
    words: tuple[str, ...], tmp_path: Path, make_tokenizer: Callable[..., Any]
) -> None:
    make_tokenizer().hf.save_pretrained(tmp_path / "policy")
    Workshop(tmp_path, Tokenizer(make_tokenizer().hf, str(tmp_path / "policy"))).annotate(PAIRS)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=tmp_path
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: output cannot be written: No space left on device"
    if words[0] == "mask":  # what was made is made, and checked when it is asked for again
        again = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
        assert (again.returncode, "nothing to do" in again.stderr) == (0, True)


@pytest.fixture
def annotated(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> Path:
    make_tokenizer().hf.save_pretrained(tmp_path / "policy")
    Workshop(tmp_path, Tokenizer(make_tokenizer().hf, str(tmp_path / "policy"))).annotate(PAIRS)
    return tmp_path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_standard_error_that_takes_nothing_ends_no_run(annotated: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "mask", "annotated", "-o", "masked"],
            stdout=subprocess.PIPE,
            stderr=full,
            env=ENVIRONMENT,
            cwd=annotated,
        )
        failed = subprocess.run([*PROGRAM, "inspect", "nothing"], stderr=full, env=ENVIRONMENT, cwd=annotated)
    assert done.returncode == 0
    assert (annotated / "masked" / "asr.json").exists()
    assert failed.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes streams")
@pytest.mark.parametrize("closed", [(2,), (1, 2), (0, 1, 2)], ids=str)
def test_closed_streams_do_not_get_the_numbers_of_files(annotated: Path, closed: tuple[int, ...]) -> None:
    whole = subprocess.run([*PROGRAM, "mask", "annotated", "-o", "whole"], env=ENVIRONMENT, cwd=annotated)
    words = shlex.join([*PROGRAM, "mask", "annotated", "-o", "masked"]) + "".join(f" {n}>&-" for n in closed)
    done = subprocess.run(["/bin/sh", "-c", words], env=ENVIRONMENT, cwd=annotated)
    assert (whole.returncode, done.returncode) == (0, 0)
    one, other = (annotated / name / "data" / "train-00000.parquet" for name in ("whole", "masked"))
    assert one.read_bytes() == other.read_bytes()
