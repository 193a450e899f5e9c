from __future__ import annotations

from typing import Any

import pytest

from asr_data.errors import ConfigError, InputError
from asr_data.types import Label
from asr_data.view.gold import gold_reader
from asr_data.view.model import row_views
from asr_data.view.reading import first_rows

ROWS = [
    {
        "prompt": [{"role": "user", "content": "Is it?"}],
        "chosen": [{"role": "assistant", "content": "Café. It is so."}],
        "rejected": [{"role": "assistant", "content": "No. Never."}],
        "faults": [{"start": 0, "end": 4}],
        "marks": [1, 0],
    }
]


def test_labels_of_columns(annotate: Any) -> None:
    annotated = annotate(ROWS)
    read = gold_reader(annotated, "chosen=faults,rejected=marks")
    assert read is not None
    labels = read(first_rows(annotated, 1)[0].row)
    # é has two bytes
    assert labels["chosen"] == (Label(0, 5, 0.0, "error"), Label(5, 16, 1.0, "correct"))
    assert labels["rejected"] == (Label(0, 4, 1.0, "1"), Label(4, 10, 0.0, "0"))


def test_the_inputs_own_labels(annotate: Any) -> None:
    assert gold_reader(annotate(ROWS)) is None
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", "rejected_labels": "marks"}
    annotated = annotate(ROWS, columns=columns)
    read = gold_reader(annotated)
    assert read is not None
    assert list(read(first_rows(annotated, 1)[0].row)) == ["rejected"]


def test_a_single_response_needs_no_side(annotate: Any) -> None:
    row = {"prompt": ROWS[0]["prompt"], "completion": ROWS[0]["rejected"], "marks": [1, 0]}
    annotated = annotate([row])
    read = gold_reader(annotated, "marks")
    assert read is not None
    assert [label.reward for label in read(first_rows(annotated, 1)[0].row)["completion"]] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("gold", "error", "message"),
    [
        ("faults", ConfigError, "--gold faults: labels of which response.*--gold rejected=faults"),
        ("completion=faults", ConfigError, "there is no such response; responses are chosen, rejected"),
        ("chosen=nothing", ConfigError, "--gold chosen=nothing: there is no such column"),
        ("chosen=prompt", InputError, "column 'prompt' is .*string.*; labels are a list"),
    ],
)
def test_gold_that_cannot_be(annotate: Any, gold: str, error: type[Exception], message: str) -> None:
    annotated = annotate(ROWS)
    with pytest.raises(error, match=message):
        gold_reader(annotated, gold)


def test_a_row_whose_labels_do_not_fit_says_so(annotate: Any) -> None:
    annotated = annotate([{**ROWS[0], "marks": [1, 0, 1]}])
    (view,) = row_views(annotated, first_rows(annotated, 1), gold_reader(annotated, "rejected=marks"))
    assert view.gold_error is not None
    assert view.gold_error.startswith("label_mismatch: column 'marks': 3 labels, 1 lines, 2 sentences")
