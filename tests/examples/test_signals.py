"""The bench of signals: it starts, draws over groups, and measures what can be known by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.props import save_policy

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.signals", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_it_starts() -> None:
    done = bench("--help")
    assert done.returncode == 0, done.stderr
    assert "--model" in done.stdout


def test_a_name_that_is_not_there() -> None:
    done = bench("--only", "hindsight,astrology")
    assert done.returncode == 2
    assert "no such name: astrology; there are hindsight, " in done.stderr


def test_rows_are_spread_over_groups() -> None:
    from examples.signals.data import drawn

    rows = [{"group": group, "row": row} for row, group in enumerate("aaaaaaaabbc")]
    assert sorted(row["group"] for row in drawn(rows, 3)) == ["a", "b", "c"]
    assert sorted(row["group"] for row in drawn(rows, 5)) == ["a", "a", "b", "b", "c"]
    assert [row["row"] for row in drawn(rows, 11)] == list(range(11))
    assert drawn(rows, 5) == drawn(rows, 5)


@pytest.fixture
def marked(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> tuple[Path, Path]:
    """Forty pairs whose faulty second sentence the other answer does not have; and a policy to cut tokens by."""
    rows = []
    for number in range(40):
        good, bad = f"It is {number}. That is all.", f"It is {number}. Nonsense follows."
        span = {"start": bad.index("Nonsense"), "end": len(bad), "type": "wrong", "severity": "major"}
        spans = {"chosen_spans": [], "rejected_spans": [span]}
        rows.append({"prompt": f"{number}?", "chosen": good, "rejected": bad, **spans, "group": str(number)})
    source = tmp_path / "english.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    save_policy(tmp_path / "policy", make_tokenizer("byte_level"))
    return source, tmp_path / "policy"


def test_what_is_found_by_labels_by_diff_and_by_position(marked: tuple[Path, Path], tmp_path: Path) -> None:
    from examples.signals.data import DATA_SETS
    from examples.signals.measure import AUROC, MASKS, SEGMENTERS, findings
    from examples.signals.signals import Signal, score

    source, policy = marked
    data = next(data for data in DATA_SETS if data.name == "english")
    labels = Signal("labels", ("--kind", "labels", "--tokenizer", str(policy)), takes_model=False)
    directory = score(labels, source, "builtin", tmp_path)
    assert score(labels, source, "builtin", tmp_path) == directory  # not scored again
    found = list(findings(directory, data, labels))
    assert {one.side for one in found if one.estimate.items} == {"rejected"}  # no fault in a chosen one to be found
    by = {(one.signal, one.segmenter, one.measure): one for one in found if one.side == "rejected"}
    assert set(by) == {
        (signal, segmenter, measure)
        for signal in ("labels", "position", "diff", "chance")
        for segmenter in SEGMENTERS
        for measure in (AUROC, MASKS)
    }
    own = by["labels", "token", AUROC]
    assert own.choosing == own.estimate.value == own.estimate.low == 1.0
    assert by["position", "token", AUROC].estimate.value == 1.0  # the fault is last in all of them
    assert own.ahead["position"].value == 0.0
    assert by["chance", "token", AUROC].estimate.value == pytest.approx(0.5, abs=0.05)
    ahead = 1.0 - (by["diff", "token", AUROC].estimate.value or 0.0)
    assert own.ahead["diff"].value == pytest.approx(ahead, abs=1e-12)
    assert not by["diff", "token", AUROC].ahead


def test_tables_say_first_what_beats_no_control() -> None:
    from asr_data.statistics.bootstrap import Estimate
    from examples.signals.measure import AUROC, Finding
    from examples.signals.tables import beaten, findings_table

    def finding(signal: str, low: float) -> Finding:
        ahead = {"position": Estimate(0.1, low, 0.2, 30), "diff": Estimate(0.2, 0.1, 0.3, 30)}
        return Finding("code", signal, "rejected", "optimal", AUROC, 0.6, Estimate(0.7, 0.6, 0.8, 30), ahead)

    found = [finding("clear", 0.05), finding("unclear", -0.01)]
    assert beaten(found, "optimal") == ["unclear, HumanEvalPack, changed lines, rejected: not above position"]
    assert findings_table(found, AUROC, "optimal").splitlines() == [
        "|  | HumanEvalPack, changed lines, rejected (30) |",
        "| --- | ---: |",
        "| clear | 0.70 (0.60 to 0.80)\\* |",
        "| unclear | 0.70 (0.60 to 0.80) |",
    ]


def test_the_page_has_a_place_for_every_table() -> None:
    from examples.signals.tables import blocks

    page = (ROOT / "docs/evidence.md").read_text(encoding="utf-8")
    assert re.findall(r"<!-- begin (signals-[\w-]+) -->", page) == list(blocks([], "optimal"))
