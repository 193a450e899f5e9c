"""A run that was killed and goes on: nothing is lost, nothing is asked twice, the files are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asr_data.critique.journal import read_critiques
from asr_data.errors import CorruptFileError, OutputExistsError
from tests.critique.conftest import ROWS, Ask, saying
from tests.judging.server import JudgeServer

PROGRAM = "from asr_data_cli.app import main; main()"


def contents(directory: Path) -> dict[str, bytes]:
    """Every file that follows from the critiques."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != "critiques.jsonl")
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def command(server: JudgeServer, folder: Path) -> list[str]:
    asked = ["-o", "killed", "--endpoint", server.url, "--model", "m", "--concurrency", "1"]
    return [sys.executable, "-c", PROGRAM, "critique", str(folder / "pairs.jsonl"), *asked]


@pytest.mark.parametrize("torn", [b"", b'{"row":2,"side":"rej'], ids=["whole", "torn"])
def test_a_killed_run_goes_on(torn: bytes, ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    whole = contents(ask(output="whole").path)
    before = len(server.asked)
    running = subprocess.Popen(command(server, tmp_path), cwd=tmp_path, stdout=subprocess.DEVNULL)
    server.on_request = lambda number: os.kill(running.pid, signal.SIGKILL) if number == before + 5 else None
    assert running.wait(timeout=120) == -signal.SIGKILL
    journal = tmp_path / "killed" / "critiques.jsonl"
    assert len(read_critiques(journal)) == 4
    assert contents(tmp_path / "killed") == {}
    with journal.open("ab") as file:
        file.write(torn)
    done = subprocess.run(command(server, tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 critiques" in done.stdout
    assert len(server.asked) == before + 5 + 3  # two critiques, one of them with a quote that is asked for again
    assert contents(tmp_path / "killed") == whole


def test_other_settings_are_refused_and_say_what_differs(ask: Ask) -> None:
    ask()
    for other in ({"side": "rejected"}, {"better_answer": False}, {"rubric": "x"}, {"seed": 1}, {"models": ("n",)}):
        with pytest.raises(OutputExistsError, match="contains critiques for other settings"):
            ask(**other)  # type: ignore[arg-type]
    with pytest.raises(OutputExistsError, match="input: was"):
        ask([{**ROWS[0], "rejected": "another"}])
    assert ask(side="rejected", overwrite=True).asked == 3


def test_prices_and_prefix_can_change(ask: Ask) -> None:
    ask()
    done = ask(more={"price_in": 1.0, "price_out": 1.0}, prefix="p_")
    assert (done.asked, done.figures.cost) == (0, 7 * 110 / 1e6)


def test_a_directory_of_something_else_is_left_alone(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "critiqued").mkdir()
    (tmp_path / "critiqued" / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"contains mine\.txt and no critiques"):
        ask(overwrite=True)


def test_a_changed_journal_is_refused(ask: Ask, server: JudgeServer, tmp_path: Path) -> None:
    server.rule = lambda asked: saying()
    ask(ROWS[:1])
    journal = tmp_path / "critiqued" / "critiques.jsonl"
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join([*lines, lines[-1]]), encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"line 4: a second critique on \(0, 'rejected', 'm', 0\)"):
        ask(ROWS[:1])
    changed = json.dumps({**json.loads(lines[-1]), "faults": [{"start": -1, "end": 2, "kind": "k"}]})
    journal.write_text("".join([*lines[:-1], changed + "\n"]), encoding="utf-8")
    with pytest.raises(CorruptFileError, match="line 3: not a critique"):
        ask(ROWS[:1])
