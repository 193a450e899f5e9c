from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from asr_data.errors import InputError, RowRejected
from asr_data.rows import Layout, detect, normalise
from asr_data.rows.winners import BY_ID, BY_NAME, FIRST_IS_BETTER, Winner, by_two_scores, by_winner

TEXT = pa.string()
FIRST, SECOND = (0, 1), (1, 0)


@pytest.mark.parametrize(
    ("value", "meaning", "right"),
    [
        (0, BY_ID, FIRST),
        (1.0, BY_ID, SECOND),
        (1, FIRST_IS_BETTER, FIRST),
        (True, FIRST_IS_BETTER, FIRST),
        (" 0 ", FIRST_IS_BETTER, SECOND),
        ("model_b", BY_NAME, SECOND),
        ("Model_A", BY_NAME, FIRST),
    ],
)
def test_the_winner(value: Any, meaning: dict[str, Winner], right: tuple[int, int]) -> None:
    assert by_winner(value, meaning, "w") == right


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("tie", "no_preference"),
        ("Tie (bothbad)", "no_preference"),
        ("both_bad", "no_preference"),
        ("model_c", "wrong_type"),
        (0, "wrong_type"),
        ("", "wrong_type"),
        (math.nan, "wrong_type"),
    ],
)
def test_no_winner(value: Any, code: str) -> None:
    with pytest.raises(RowRejected) as rejected:
        by_winner(value, BY_NAME, "w")
    assert rejected.value.code == code
    assert "column 'w'" in rejected.value.message


def test_the_higher_score_wins() -> None:
    assert by_two_scores(0.5, -0.5, ("a", "b")) == FIRST
    assert by_two_scores("2", "10", ("a", "b")) == SECOND


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (0, 0.0, "no_preference"),
        (1, None, "missing_column"),
        (1, " ", "missing_column"),
        (1, "many", "wrong_type"),
        (1, "nan", "wrong_type"),
        (math.inf, 1, "wrong_type"),
    ],
)
def test_scores_that_decide_nothing(first: Any, second: Any, code: str) -> None:
    with pytest.raises(RowRejected) as rejected:
        by_two_scores(first, second, ("a", "b"))
    assert rejected.value.code == code


def two(**columns: str) -> Layout:
    schema = pa.schema([("q", TEXT), ("l", TEXT), ("r", TEXT), ("best", TEXT)])
    return detect(schema, [], {"prompt": "q", "response1": "l", "response2": "r", **columns})


def test_values_that_the_user_names() -> None:
    layout = two(winner="best", winner_first="left|up", winner_second="right")
    assert "the first won: left, up; the second won: right" in layout.describe()
    row = normalise(0, {"q": "q", "l": "a", "r": "b", "best": "RIGHT"}, layout)
    assert [one.content for one in row.completions] == ["b", "a"]
    assert Layout.model_validate_json(layout.model_dump_json()) == layout


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"winner": "best", "winner_first": "x"}, "needs both winner_first=… and winner_second=…"),
        ({"winner": "best", "winner_first": "x", "winner_second": "x"}, "both winner_first=x and winner_second=x"),
        ({"preference": "best", "winner_first": "x", "winner_second": "y"}, "no column is the winner"),
    ],
)
def test_values_that_cannot_be_right(columns: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        two(**columns)


def test_texts_of_two_responses_need_a_prompt() -> None:
    schema = pa.schema([("conversation_a", TEXT), ("conversation_b", TEXT), ("winner", TEXT)])
    with pytest.raises(InputError, match="'conversation_a' and 'conversation_b' hold texts, and no column a prompt"):
        detect(schema, [{"conversation_a": "x", "conversation_b": "y", "winner": "model_a"}])
