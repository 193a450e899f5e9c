"""Messages that a column holds as text, as CSV files and some exports do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from asr_data.errors import InputError, RowRejected

_KEYS = ({"role", "content"}, {"role", "tool_calls"}, {"from", "value"})


def holds_json_messages(values: Sequence[Any], column: str) -> bool:
    """Whether every text of a column, as far as it was looked at, is a JSON list of messages.

    Raises:
        InputError: the texts are lists of messages as Python prints them, which is no data format.
    """
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    if texts and all(_is_printed(text) for text in texts):
        raise InputError(
            f"column {column!r} holds messages as Python prints them ({texts[0][:40]}…), not as JSON; write them with "
            "json.dumps, or in a format that has lists, such as Parquet or JSON Lines"
        )
    return bool(texts) and all(_is_json(text) for text in texts)


def json_messages(text: str, column: str) -> Any:
    """The messages in a text.

    Raises:
        RowRejected: ``invalid_json`` where it is something else.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowRejected("invalid_json", f"column {column!r} is not the JSON of messages: {error}") from error


def _is_json(text: str) -> bool:
    if not text.startswith(("[", "{")):
        return False
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return False
    messages = [parsed] if isinstance(parsed, Mapping) else parsed
    return bool(messages) and all(isinstance(m, Mapping) and any(keys <= m.keys() for keys in _KEYS) for m in messages)


def _is_printed(text: str) -> bool:
    return text.startswith(("[{'", "{'")) and any(f"'{key}':" in text for key in ("role", "from"))
