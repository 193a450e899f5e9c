"""The experiment behind ``docs/evidence.md``: it starts, and judges on what the scorer was not trained on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_it_starts() -> None:
    done = subprocess.run([sys.executable, "-m", "examples.paper", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--policy" in done.stdout


def test_what_is_judged_was_held_out_from_the_scorers_training() -> None:
    from examples.paper.data import FINEGRAINED, HELD_OUT, PRMBENCH, SEED, judged

    report = json.loads((ROOT / "asr_data/scoring/builtin/report.json").read_text(encoding="utf-8"))
    assert (report["config"]["held_out"], report["config"]["seed"]) == (HELD_OUT, SEED)
    groups = [str(number) for number in range(400)]
    assert 0.1 < sum(judged(FINEGRAINED, group) for group in groups) / 400 < 0.2
    assert 0.4 < sum(judged(PRMBENCH, group) for group in groups) / 400 < 0.6


def test_the_page_has_a_place_for_every_table() -> None:
    source = (ROOT / "examples/paper/__main__.py").read_text(encoding="utf-8")
    names = re.findall(r'^        "(\w+)": ', source, flags=re.MULTILINE)
    page = (ROOT / "docs/evidence.md").read_text(encoding="utf-8")
    assert len(names) == 8
    assert re.findall(r"<!-- begin (\w+) -->", page) == re.findall(r"<!-- end (\w+) -->", page)
    assert sorted(re.findall(r"<!-- begin (\w+) -->", page)) == sorted(names)
