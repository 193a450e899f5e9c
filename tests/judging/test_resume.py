"""A run that was killed and goes on: nothing is lost, nothing is asked twice, the files are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_data.endpoints.journal import Journal, read_plan
from asr_data.errors import CorruptFileError, OutputExistsError
from asr_data.judging.journal import Verdict, read_verdicts
from asr_data.judging.output import prepare
from tests.judging.conftest import ROWS, Ask
from tests.judging.server import JudgeServer

PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background of a shell
from asr_data_cli.app import main
main()
"""
PLAN = {"judges": {}}
FIRST, SECOND = (Verdict(row=row, judge="m", order="as_given", verdict="tie") for row in (0, 1))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file that follows from the verdicts."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != "verdicts.jsonl")
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def command(server: JudgeServer, folder: Path, *options: str) -> list[str]:
    program = [
        sys.executable,
        "-c",
        PROGRAM,
        "judge",
        str(folder / "answers.jsonl"),
    ]
    asked = ["--first", "tuned", "--second", "base", "-o", "killed", "--endpoint", server.url, "--model", "m"]
    return [*program, *asked, "--concurrency", "1", *options]


@pytest.mark.parametrize("torn", [b"", b'{"row":3,"judge":"m","ord'], ids=["whole", "torn"])
def test_a_killed_run_goes_on(torn: bytes, ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    whole = contents(ask(output="whole").path)
    before = len(server.asked)
    running = subprocess.Popen(command(server, tmp_path), cwd=tmp_path, stdout=subprocess.DEVNULL)
    server.on_request = lambda number: os.kill(running.pid, signal.SIGKILL) if number == before + 6 else None
    assert running.wait(timeout=120) == -signal.SIGKILL
    journal = tmp_path / "killed" / "verdicts.jsonl"
    assert len(read_verdicts(journal)) == 5
    with journal.open("ab") as file:
        file.write(torn)
    done = subprocess.run(command(server, tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "8, 0 missing; 3 requested by this run" in done.stdout
    assert len(server.asked) == before + 6 + 3
    assert len(read_verdicts(journal)) == 2 * len(ROWS)
    assert contents(tmp_path / "killed") == whole


def test_interrupting_keeps_what_is_there(server: JudgeServer, write_rows: Callable[..., Path], tmp_path: Path) -> None:
    write_rows(ROWS)
    running = subprocess.Popen(command(server, tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    server.on_request = lambda number: running.send_signal(signal.SIGINT) if number == 4 else None
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "stopped by Ctrl-C" in errors
    assert "Every verdict so far is kept: the same command continues" in errors
    assert len(read_verdicts(tmp_path / "killed" / "verdicts.jsonl")) >= 3


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    assert read_plan(path) is None
    journal = Journal(path, PLAN)
    assert read_plan(path) == PLAN
    assert read_verdicts(path) == {}
    journal.append(FIRST.line())
    journal.append(SECOND.line())
    journal.close()
    assert read_verdicts(path) == {FIRST.key: FIRST, SECOND.key: SECOND}


@pytest.mark.parametrize("kept", range(1, 40))
def test_whatever_of_the_last_line_is_there_it_is_cut_off(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    journal = Journal(path, PLAN)
    journal.append(FIRST.line())
    whole = path.read_bytes()
    journal.append(SECOND.line())
    journal.close()
    path.write_bytes(path.read_bytes()[: len(whole) + kept])
    assert read_verdicts(path) == {FIRST.key: FIRST}
    again = Journal(path, PLAN)
    assert path.read_bytes() == whole
    again.append(SECOND.line())
    again.close()
    assert list(read_verdicts(path).values()) == [FIRST, SECOND]


def test_a_torn_first_line_is_a_new_journal(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_bytes(b'{"plan": {"jud')
    assert read_plan(path) is None
    Journal(path, PLAN).close()
    assert read_plan(path) == PLAN


def test_a_changed_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    journal = Journal(path, PLAN)
    journal.append(FIRST.line())
    journal.append(FIRST.line())
    journal.close()
    with pytest.raises(CorruptFileError, match="line 3: a second verdict on"):
        read_verdicts(path)
    path.write_bytes(path.read_bytes().replace(b'"tie"', b'"tied"'))
    with pytest.raises(CorruptFileError, match="line 2: not a verdict"):
        read_verdicts(path)
    path.write_bytes(b'{"row": 1}\n')
    with pytest.raises(CorruptFileError, match="line 1: not the first line of a journal of answers"):
        read_plan(path)


def test_two_runs_do_not_write_to_one_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "verdicts.jsonl", PLAN)
    code = (
        "import sys; from pathlib import Path; from asr_data.endpoints.journal import Journal\n"
        f"Journal(Path({str(tmp_path / 'verdicts.jsonl')!r}), {{}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another run is writing to it now" in done.stderr
    assert OutputExistsError.__name__ in done.stderr
    with pytest.raises(OutputExistsError, match="another run is writing to it now"):
        prepare(tmp_path, PLAN, overwrite=True)
    assert read_plan(tmp_path / "verdicts.jsonl") == PLAN
    journal.close()
    prepare(tmp_path, PLAN, overwrite=True)
    assert list(tmp_path.iterdir()) == []
