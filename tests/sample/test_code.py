"""Every code answer was run: chosen ones do what was asked, and every bug shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sample.build import Pair, pairs

CODE = [pair for pair in pairs() if pair.topic == "code"]


def passes(answer: str, check: str) -> bool:
    given = json.dumps({"answer": answer, "check": check})
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.sample.run_code"]
    ran = subprocess.run(command, input=given, text=True, cwd=root, capture_output=True, check=False)
    return ran.returncode == 0


@pytest.mark.parametrize("pair", CODE, ids=[str(number) for number in range(len(CODE))])
def test_the_chosen_answer_works_and_the_bug_shows(pair: Pair) -> None:
    assert pair.check
    needed = "node" if "node(" in pair.check else "bash"
    if re.search(r"\b(node|shell|deleted_by)\(", pair.check) and shutil.which(needed) is None:
        pytest.skip(f"{needed} is missing: the answer's code cannot be run")
    assert passes(pair.chosen, pair.check)
    # Where the fault is in what is said about the code, the code itself is right.
    assert passes(pair.rejected, pair.check) == all(fault.kind == "wrong_fact" for fault in pair.faults)
