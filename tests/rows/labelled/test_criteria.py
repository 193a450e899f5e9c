from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from asr_data.errors import RowRejected
from asr_data.rows.labelled import read
from asr_data.rows.labelled.criteria import combine

PAPER = Path(__file__).parents[3] / ".." / "shared" / "paper"


def test_the_default_is_the_mean_of_what_judges() -> None:
    assert combine([1.0, 0.5, 0.0, 1.0, 1.0]) == 0.5
    assert combine([1.0, 0.5, 0.0, 0.0, 0.0]) == 0.5


def test_weights_by_hand() -> None:
    scores = [1.0, 0.5, 0.0, 0.25, 0.75]
    assert combine(scores, {"helpfulness": 1.0, "correctness": 1.0}) == 0.75
    assert combine(scores, {"helpfulness": 3.0, "coherence": 1.0}) == 0.75
    assert combine(scores, {"verbosity": -1.0}) == 0.25
    # (1·1.0 + ½·(1 − 0.75)) / 1½
    assert combine(scores, {"helpfulness": 1.0, "verbosity": -0.5}) == pytest.approx(0.75)


def test_scores_without_names_are_averaged_and_cannot_be_weighed() -> None:
    assert combine([1.0, 0.0]) == 0.5
    assert combine([0.25]) == 0.25
    with pytest.raises(RowRejected, match="2 scores by criteria without names"):
        combine([1.0, 0.0], {"helpfulness": 1.0})


def example(number: int) -> dict[str, object]:
    """A row of the paper's appendix, as it stands there."""
    found = sorted(PAPER.glob("*.txt"))
    if not found:
        pytest.skip("the paper's text is missing: ../shared/paper")
    page = found[0].read_text(encoding="utf-8")
    part = page[page.index("Criterion 1:") : page.index("B Optimizing")].split("Criterion 2:")[number - 1]
    texts = re.search(r'Instruction\s+"(.*)"\s+Chosen\s+"(.*)"\s+Rejected\s+"(.*)"\s+chosen scores', part, re.S)
    assert texts is not None
    scores = [json.loads(found) for found in re.findall(r"\[\[.*?\]\]", part)]
    names = ("Instruction", "Chosen", "Rejected", "chosen scores", "rejected scores")
    return dict(zip(names, [*texts.groups(), *scores], strict=True))


def test_the_paper_s_first_example() -> None:
    _, (chosen, rejected) = read("criteria_pairs", example(1))
    assert [[label.reward for label in each.labels or ()] for each in (chosen, rejected)] == [[1.0] * 12, [1.0] * 5]


def test_the_paper_s_second_example_has_fewer_scores_than_sentences() -> None:
    with pytest.raises(RowRejected, match="9, 9, 9, 9, 9 scores for 13 sentences"):
        read("criteria_pairs", example(2))
