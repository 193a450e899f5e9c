from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from asr_data.rows.columns import column_type, column_value

ANSWER = pa.struct([("text", pa.string()), ("score", pa.float64())])
SCHEMA = pa.schema(
    [
        ("input", pa.struct([("messages", pa.list_(pa.string()))])),
        ("answers", pa.large_list(ANSWER)),
        ("a.b", pa.int64()),
        ("a", pa.struct([("b", pa.string())])),
    ]
)
RECORD = {
    "input": {"messages": ["m"]},
    "answers": [{"text": "x", "score": 1.0}, {"text": "y"}, None],
    "a.b": 7,
    "a": {"b": "c"},
}


@pytest.mark.parametrize(
    ("path", "kind", "value"),
    [
        ("input", SCHEMA.field("input").type, {"messages": ["m"]}),
        ("input.messages", pa.list_(pa.string()), ["m"]),
        ("answers.text", pa.list_(pa.string()), ["x", "y", None]),
        ("answers.score", pa.list_(pa.float64()), [1.0, None, None]),
        ("a.b", pa.int64(), 7),
        ("answers.other", None, [None, None, None]),
        ("input.messages.text", None, [None]),
        ("nothing", None, None),
        ("nothing.text", None, None),
        (".text", None, None),
    ],
)
def test_paths(path: str, kind: pa.DataType | None, value: Any) -> None:
    assert column_type(SCHEMA, path) == kind
    assert column_value(RECORD, path) == value
