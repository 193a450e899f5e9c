"""Messages that a column of texts holds as JSON, as CSV files have them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from asr_data.errors import InputError
from asr_data.rows.columns import column_value

Notation: TypeAlias = Literal["json", "python", "text"]

_BEGINS: Final = re.compile(r"\s*\[\s*\{")
_LONGEST_LITERAL: Final = 1_000_000
"""Characters of a text that is parsed as a Python literal; longer ones are texts."""


def json_message_columns(columns: Mapping[Any, str], first_records: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns whose texts are messages as JSON.

    Args:
        columns: role → column, of the columns of texts that could hold messages.
        first_records: some records.

    Raises:
        InputError: a column holds messages in some rows and other texts in others, or messages as Python prints them.
    """
    found = []
    for column in columns.values():
        texts = [column_value(record, column) for record in first_records]
        kinds = [notation(text) for text in texts if isinstance(text, str) and text.strip()]
        if "python" in kinds:
            raise InputError(
                f"column {column!r} holds messages as Python prints them ('role': …), which is not JSON; write them "
                "with json.dumps, or as JSON Lines or Parquet"
            )
        if "json" in kinds and "text" in kinds:
            raise InputError(
                f"column {column!r} holds messages as JSON in {kinds.count('json')} of the first {len(kinds)} "
                "rows, and other texts in the rest; make them one kind"
            )
        found += [column] if "json" in kinds else []
    return tuple(found)


def notation(text: str) -> Notation:
    """Whether a text is messages as JSON, or as Python prints them, or any other text."""
    if not _BEGINS.match(text):
        return "text"
    try:
        return "json" if _are_messages(json.loads(text)) else "text"
    except (ValueError, RecursionError):
        pass
    if len(text) > _LONGEST_LITERAL:
        return "text"
    try:
        return "python" if _are_messages(ast.literal_eval(text.strip())) else "text"
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return "text"


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_message, value))


def _is_message(item: Any) -> bool:
    keys = [("role", "content"), ("from", "value"), ("input", "output")]
    return isinstance(item, Mapping) and any(isinstance(item.get(who), str) and what in item for who, what in keys)
