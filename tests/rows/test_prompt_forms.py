"""System messages and prompts that are texts: never dropped in silence, and one form for the whole data set."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from asr_data.errors import InputError, RowRejected
from asr_data.rows import Layout, detect, normalise

TEXT = pa.string()
PAIR = {"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}
RECORD = {"prompt": "q", "chosen": "a", "rejected": "b"}


def detected(types: dict[str, pa.DataType], *records: dict[str, Any], **columns: str) -> Layout:
    return detect(pa.schema(list(types.items())), records, columns or None)


@pytest.mark.parametrize("name", ["system", "system_prompt", "system_message"])
def test_a_system_column_is_read_beside_any_prompt(name: str) -> None:
    layout = detected({**PAIR, name: TEXT}, {**RECORD, name: "s"})
    assert (layout.columns["system"], layout.prompt_form) == (name, "user")
    row = normalise(0, {**RECORD, name: "s"}, layout)
    assert row.prompt == [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    # Without a system message the row is of the same form as the others.
    assert normalise(1, {**RECORD, name: None}, layout).prompt == [{"role": "user", "content": "q"}]


def test_a_system_column_that_holds_no_texts_is_an_error() -> None:
    with pytest.raises(InputError, match="column 'system' is int64; a system prompt is a text"):
        detected({**PAIR, "system": pa.int64()}, {**RECORD, "system": 3})


def test_a_system_column_that_is_not_read_is_named() -> None:
    types = {**PAIR, "system": TEXT, "system_prompt": TEXT}
    schema = pa.schema(list(types.items()))
    assert detected(types).unread_system(schema) == "not read: system_prompt (--columns system=system_prompt,… would)"
    whole = detected(types, prompt="prompt", chosen="chosen", rejected="rejected")
    assert whole.unread_system(schema) == "not read: system, system_prompt (--columns system=system,… would)"
    assert detected(PAIR).unread_system(pa.schema(list(PAIR.items()))) is None


def test_a_system_column_fills_in_beside_columns_that_are_named() -> None:
    layout = detected({"ask": TEXT, "good": TEXT, "rejected": TEXT, "system": TEXT}, prompt="ask", chosen="good")
    assert layout.columns == {"prompt": "ask", "chosen": "good", "rejected": "rejected", "system": "system"}


def test_columns_of_an_earlier_version_are_read_as_they_were() -> None:
    layout = Layout(kind="preference", columns={**{role: role for role in RECORD}, "system": "system"})
    assert normalise(0, {**RECORD, "system": ""}, layout).prompt == "q"
    assert "prompt_form" not in layout.model_dump()


def test_a_prompt_that_is_no_transcript_among_transcripts() -> None:
    mark = "\n\nHuman: q\n\nAssistant:"
    layout = detected(PAIR, {**RECORD, "prompt": mark})
    assert layout.prompt_form == "transcript"
    for prompt, code in [("q", "wrong_type"), (f"{mark} I", "prompt_mismatch"), (" ", "empty_prompt")]:
        with pytest.raises(RowRejected) as rejected:
            normalise(0, {**RECORD, "prompt": prompt}, layout)
        assert rejected.value.code == code
    assert detected(PAIR, {**RECORD, "prompt": mark}, RECORD).prompt_form == "plain"
    assert normalise(0, {**RECORD, "prompt": "\n\nHuman: q"}, layout).prompt == [{"role": "user", "content": "q"}]


def test_whole_transcripts_beside_a_question_hold_their_own_prompt() -> None:
    types = {"question": TEXT, "chosen": TEXT, "rejected": TEXT}
    sides = {side: f"\n\nHuman: q\n\nAssistant: {side}" for side in ("chosen", "rejected")}
    assert detected(types, {"question": "q", **sides}).kind == "transcripts"


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"response_a": '["a", "b"]'}, "wrong_type"),
        ({"response_a": "[null]"}, "empty_response"),
        ({"response_a": "a"}, "wrong_type"),
        ({"response_a": '["b"]'}, "identical_sides"),
        ({"prompt": "[]", "response_a": "[]", "response_b": "[]"}, "wrong_type"),
    ],
)
def test_lists_of_turns_that_do_not_fit(record: dict[str, str], code: str) -> None:
    right = {"prompt": '["q"]', "response_a": '["a"]', "response_b": '["b"]', "winner": "model_a"}
    layout = detected(dict.fromkeys(right, TEXT), right)
    assert layout.prompt_form == "turns"
    with pytest.raises(RowRejected) as rejected:
        normalise(0, {**right, **record}, layout)
    assert rejected.value.code == code
