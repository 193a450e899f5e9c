from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from asr_data.errors import RowRejected
from asr_data.rows.labels import LabelUnit, label_unit, parse_labels
from asr_data.types import Label, Text


def rejection(value: Any, unit: LabelUnit, content: Text) -> str:
    with pytest.raises(RowRejected) as caught:
        parse_labels(value, unit, content, "marks")
    return caught.value.code


def test_one_per_line_or_sentence() -> None:
    lines = "1. Add.\n\n 2. Stop. Now.\n"  # two lines, three sentences: "2." begins a line
    assert parse_labels([1, -0.5], "scores", lines, "marks") == (
        Label(0, 10, 1.0, "1"),
        Label(10, 24, -0.5, "-0.5"),
    )
    assert parse_labels([True, None, 0], "scores", lines, "marks") == (
        Label(0, 10, 1.0, "true"),
        Label(19, 24, 0.0, "0"),
    )
    assert parse_labels([None, False, None], "scores", lines, "marks") == (Label(10, 19, 0.0, "false"),)


def test_bytes_of_what_the_assistant_wrote() -> None:
    content = [
        {"role": "assistant", "content": "Größe? "},
        {"role": "tool", "content": "not. counted."},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "Ja."},
    ]
    assert parse_labels([0, 1], "scores", content, "marks") == (Label(0, 9, 0.0, "0"), Label(9, 12, 1.0, "1"))
    assert parse_labels([{"start": 2, "end": 4, "score": 2}], "spans", content, "marks") == (Label(2, 6, 2.0, "2"),)


def test_a_count_that_both_cuts_have_needs_equal_borders() -> None:
    assert parse_labels([1], "scores", "One sentence.", "marks") == (Label(0, 13, 1.0, "1"),)
    assert parse_labels([1, 0], "scores", "One.\nTwo.", "marks") == (Label(0, 5, 1.0, "1"), Label(5, 9, 0.0, "0"))
    assert (
        rejection(
            [1, 0, 1],
            "scores",
            "One.\nTwo.",
        )
        == "label_mismatch"
    )
    assert rejection([], "scores", "One.") == "label_mismatch"


def test_spans_with_scores() -> None:
    value = [{"start": 4, "end": 5, "label": True, "score": None}, {"start": 0, "end": 2, "score": 0.5}]
    assert parse_labels(value, "spans", "abcdef", "marks") == (Label(0, 2, 0.5, "0.5"), Label(4, 5, 1.0, "true"))
    assert parse_labels([{"start": 0, "end": 2, "score": None}], "spans", "abcdef", "marks") == ()
    assert parse_labels([], "spans", "abcdef", "marks") == ()
    assert parse_labels(None, "spans", "abcdef", "marks") == ()


def test_error_spans() -> None:
    value = [{"start": 3, "end": 5, "type": "Wrong"}, {"start": 4, "end": 6}, {"start": 4, "end": 5}]
    assert parse_labels(value, "errors", "abcdefgh", "marks") == (
        Label(0, 3, 1.0, "correct"),
        Label(3, 4, 0.0, "Wrong"),
        Label(4, 5, 0.0, "Wrong+error"),
        Label(5, 6, 0.0, "error"),
        Label(6, 8, 1.0, "correct"),
    )
    assert parse_labels([{"start": 3, "end": 6}], "errors", "ab bad cd \n", "marks") == (
        Label(0, 2, 1.0, "correct"),
        Label(3, 6, 0.0, "error"),
        Label(7, 9, 1.0, "correct"),
    )
    assert parse_labels([{"start": 0, "end": 2}], "errors", "ab", "marks") == (Label(0, 2, 0.0, "error"),)
    assert parse_labels([], "errors", "ab", "marks") == (Label(0, 2, 1.0, "correct"),)


@pytest.mark.parametrize(
    ("value", "unit", "code"),
    [
        ("11", "scores", "wrong_type"),
        ([float("nan")], "scores", "wrong_type"),
        ([{"start": 0, "end": 1, "score": "good"}], "spans", "wrong_type"),
        ([{"start": 0, "end": 3, "score": 1}, {"start": 2, "end": 4, "score": 1}], "spans", "label_mismatch"),
        ([{"start": 0, "end": 5}], "errors", "label_mismatch"),
        ([{"start": 2, "end": 2}], "errors", "label_mismatch"),
        ([{"start": -1, "end": 2}], "errors", "label_mismatch"),
        ([{"start": None, "end": 2}], "errors", "label_mismatch"),
        ([None], "errors", "label_mismatch"),
    ],
)
def test_labels_that_do_not_fit(value: Any, unit: LabelUnit, code: str) -> None:
    assert rejection(value, unit, "abcd") == code


def test_criteria_by_sentences() -> None:
    value = [[4, 0], [4, 2], [4, 4], [0, 4], [0, 4]]
    labels = parse_labels(value, "criteria", "One. Two!", "marks")
    assert [(label.start, label.end, label.reward, label.name) for label in labels] == [
        (0, 4, 1.0, "4,4,4,0,0"),
        (5, 9, 0.5, "0,2,4,4,4"),
    ]
    assert label_unit(pa.list_(pa.list_(pa.int64())), "marks") == "criteria"
    assert rejection([[4, 0], [4]], "criteria", "One. Two!") == "label_mismatch"
    assert rejection([], "criteria", "One. Two!") == "label_mismatch"
    assert rejection([[4, 9]], "criteria", "One. Two!") == "label_mismatch"


def test_marks_of_which_there_are_none() -> None:
    kind = pa.table({"marks": [[], []]}).schema.field("marks").type
    assert label_unit(kind, "marks") == "errors"
    assert parse_labels([], "errors", "All right.", "marks") == (Label(0, 10, 1.0, "correct"),)
