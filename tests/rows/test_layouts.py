from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from asr_data.errors import InputError
from asr_data.rows import Layout, detect

TEXT = pa.string()
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
MESSAGES = pa.list_(MESSAGE)
SHAREGPT = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
TRANSCRIPT = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}


def detected(types: dict[str, pa.DataType], records: list[dict[str, Any]] | None = None, **columns: str) -> Layout:
    return detect(pa.schema(list(types.items())), records or [], columns or None)


@pytest.mark.parametrize(
    ("types", "kind", "sides"),
    [
        ({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}, "preference", ("chosen", "rejected")),
        ({"prompt": MESSAGES, "chosen": MESSAGE, "rejected": MESSAGES}, "preference", ("chosen", "rejected")),
        ({"prompt": TEXT, "chosen": MESSAGES, "rejected": MESSAGES}, "preference", ("chosen", "rejected")),
        ({"chosen": MESSAGES, "rejected": MESSAGES}, "preference_implicit_prompt", ("chosen", "rejected")),
        ({"prompt": TEXT, "completion": TEXT, "label": pa.bool_()}, "unpaired", ("completion",)),
        ({"prompt": TEXT, "completion": TEXT, "label": TEXT}, "unpaired", ("completion",)),
        ({"prompt": MESSAGES, "completion": MESSAGES}, "prompt_completion", ("completion",)),
        ({"prompt": TEXT, "chosen": TEXT, "rejected": pa.large_string(), "label": TEXT}, "preference", None),
    ],
)
def test_detected_by_names_and_types(types: dict[str, pa.DataType], kind: str, sides: tuple[str, ...] | None) -> None:
    layout = detected({"id": pa.int64(), **types, "score": pa.float64()})
    assert layout.kind == kind
    assert layout.sides == (sides or ("chosen", "rejected"))


def test_transcripts_are_told_by_their_marks() -> None:
    types = {"chosen": TEXT, "rejected": TEXT}
    assert detected(types, [TRANSCRIPT]).kind == "transcripts"
    odd = {**TRANSCRIPT, "chosen": "no marks"}
    with pytest.raises(InputError, match=r"1 of the first 4 texts.*--columns"):
        detected(types, [TRANSCRIPT, odd])
    assert detected(types, [TRANSCRIPT, odd], chosen="chosen", rejected="rejected").kind == "transcripts"
    with pytest.raises(InputError, match="would be a guess"):
        detected(types, [odd | {"rejected": "none"}], chosen="chosen", rejected="rejected")


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({}, "no row could be read"),
        (
            {"question": TEXT, "answer": TEXT},
            r"fit no layout; the columns are question: string.*--columns.*prompt=…",
        ),
        ({"chosen": TEXT}, "fit no layout"),
        ({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT, "completion": TEXT}, "more than one layout"),
        ({"prompt": TEXT, "chosen": SHAREGPT, "rejected": SHAREGPT}, "keys from, value; role and content"),
        ({"prompt": TEXT, "chosen": pa.list_(TEXT), "rejected": TEXT}, "'chosen' is list<item: string>"),
        ({"prompt": TEXT, "chosen": MESSAGES, "rejected": TEXT}, "both responses must be"),
        ({"prompt": MESSAGES, "chosen": TEXT, "rejected": TEXT}, "a prompt of messages"),
        ({"prompt": TEXT, "completion": TEXT, "label": pa.float64()}, "label is true or false"),
        ({"chosen": TEXT, "rejected": TEXT}, "would be a guess"),
    ],
)
def test_refuses_rather_than_guesses(types: dict[str, pa.DataType], message: str) -> None:
    with pytest.raises(InputError, match=message):
        detected(types)


def test_columns_overrule() -> None:
    types = {
        "prompt": TEXT,
        "question": TEXT,
        "better": TEXT,
        "worse": TEXT,
        "chosen": TEXT,
        "rejected": TEXT,
    }
    layout = detected(types, prompt="question", chosen="better", rejected="worse")
    assert layout.columns == {"prompt": "question", "chosen": "better", "rejected": "worse"}
    assert "prompt=question, chosen=better, rejected=worse" in layout.describe()
    assert detected(types, prompt="question").columns == {
        "prompt": "question",
        "chosen": "chosen",
        "rejected": "rejected",
    }
    answers = {"prompt": TEXT, "answer": TEXT, "label": pa.float64()}
    assert detected(answers, prompt="prompt", completion="answer").kind == "prompt_completion"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"question": "prompt"}, "unknown role 'question'; roles are prompt"),
        ({"prompt": "absent"}, "prompt=absent: there is no such column; the columns are prompt"),
        ({"prompt": "chosen", "chosen": "chosen", "rejected": "rejected"}, "one column for two roles"),
    ],
)
def test_columns_that_cannot_be_right(columns: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        detected({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}, **columns)


def test_template_columns_and_frozen() -> None:
    types = {"prompt": MESSAGES, "completion": MESSAGES, "tools": TEXT, "chat_template_kwargs": pa.null()}
    layout = detected(types)
    assert (layout.tools_column, layout.template_kwargs_column) == ("tools", "chat_template_kwargs")
    with pytest.raises(ValidationError):
        layout.kind = "unpaired"  # type: ignore[misc]
