"""Conversations in two columns, requests and answers, each a list of texts as JSON (Chatbot Arena's 55k of Kaggle)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from asr_data.errors import RowRejected
from asr_data.types import Message


def is_turn_list(text: str) -> bool:
    """Whether a text is a JSON list of texts, nulls among them allowed."""
    return text.lstrip().startswith("[") and _turns(text) is not None


def interleaved(requests: str, answers: str, columns: tuple[str, str]) -> list[Message]:
    """Requests and answers in turn.

    Raises:
        RowRejected: ``wrong_type`` where one is no list of texts, or the lists differ in length; ``empty_response`` for
            an answer that is null.
    """
    asked, answered = (_parsed(text, column) for text, column in zip((requests, answers), columns, strict=True))
    if len(asked) != len(answered) or not asked:
        raise RowRejected(
            "wrong_type", f"columns {columns[0]!r} and {columns[1]!r} hold {len(asked)} and {len(answered)} turns"
        )
    return [
        {"role": role, "content": content}
        for pair in zip(asked, answered, strict=True)
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]


def _parsed(text: str, column: str) -> list[str]:
    turns = _turns(text)
    if turns is None:
        raise RowRejected("wrong_type", f"column {column!r} is no list of texts as JSON here, but in the first rows")
    if None in turns:
        raise RowRejected("empty_response", f"column {column!r}, turn {turns.index(None)} is null")
    return [turn for turn in turns if turn is not None]


def _turns(text: str) -> Sequence[str | None] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and all(item is None or isinstance(item, str) for item in value) else None
