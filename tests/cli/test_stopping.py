"""Ctrl-C and SIGTERM in the middle of a shard, sent to the real program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from asr_data_cli.app import build_app

RULE = (
    "import os, time\n"
    "def score(prompt, response):\n"
    "    time.sleep(float(os.environ.get('SLOW', 0)))\n"
    "    return [(0, len(response), float(len(response) % 7))]\n"
)
ROWS = [{"prompt": f"Question {i}?", "chosen": "Yes. " * (i + 1), "rejected": "No " * (9 - i)} for i in range(8)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def words(tmp_path: Path, make_tokenizer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run of eight rows in four shards, the output left out."""
    (tmp_path / "slow_rule.py").write_text(RULE)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    make_tokenizer().hf.save_pretrained(tmp_path / "policy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    asked = "run pairs.jsonl --kind rule --model slow_rule:score --tokenizer policy --shard-rows 2 -o"
    return asked.split()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drops_the_shard_at_work_and_says_so(
    words: list[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell's background ignores it
        "from asr_data_cli.app import main; main()"
    )
    slow = {**os.environ, "SLOW": "0.3", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", program, *words, "out"], env=slow, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as running:
        while not Path("out/.asr-work/shards/score-00000.json").exists():
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        _, message = running.communicate()
    assert running.returncode == code, message.decode()
    assert {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}[number] in message.decode()
    assert "the same command continues" in message.decode()
    assert not list(Path("out").rglob("*.partial"))
    for name in ("out", "whole"):
        done = CliRunner().invoke(build_app(), [*words, name])
        assert done.exit_code == 0, done.output
    assert files(Path("out")) == files(Path("whole"))
