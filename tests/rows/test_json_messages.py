"""Messages as JSON text, as Python prints them, and as parts."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from asr_data.errors import InputError, RowRejected
from asr_data.rows import detect, normalise

ASK = {"role": "user", "content": "Why?"}


def both(answer: str) -> list[dict[str, str]]:
    return [ASK, {"role": "assistant", "content": answer}]


def read(records: list[dict[str, Any]], index: int = 0) -> Any:
    layout = detect(pa.Table.from_pylist(records[:1]).schema, records[:1])
    return normalise(index, records[index], layout)


def test_json_text_is_read_as_messages() -> None:
    row = read([{"prompt": "Why?", "chosen": json.dumps(both("Light.")), "rejected": json.dumps(both("No."))}])
    assert list(row.prompt) == [ASK]
    assert [one.content for one in row.completions] == [both("Light.")[1:], both("No.")[1:]]


def test_a_later_value_that_is_no_json_is_rejected() -> None:
    first = {"prompt": "Why?", "chosen": json.dumps(both("a")), "rejected": json.dumps(both("b"))}
    with pytest.raises(RowRejected) as caught:
        read([first, first | {"chosen": "[plain"}], 1)
    assert caught.value.code == "invalid_json"


def test_other_json_is_text() -> None:
    row = read([{"prompt": "Numbers?", "chosen": "[1, 2]", "rejected": '{"a": 1}'}])
    assert [one.content for one in row.completions] == ["[1, 2]", '{"a": 1}']


def test_what_python_prints_is_refused() -> None:
    with pytest.raises(InputError, match=r"column 'chosen' holds messages as Python prints them.*json\.dumps"):
        read([{"prompt": "Why?", "chosen": repr(both("a")), "rejected": repr(both("b"))}])


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "Li"}, {"type": "text", "text": "ght."}]
    row = read([{"prompt": [ASK], "chosen": [{"role": "assistant", "content": parts}], "rejected": both("No.")[1:]}])
    assert row.completions[0].content[0]["content"] == "Light."


def test_other_parts_are_rejected() -> None:
    parts = [{"type": "image", "url": "x"}, {"type": "text", "text": "a"}]
    with pytest.raises(RowRejected, match="parts of the kinds image, text") as caught:
        read([{"prompt": [ASK], "chosen": [{"role": "assistant", "content": parts}], "rejected": both("No.")[1:]}])
    assert caught.value.code == "wrong_type"
