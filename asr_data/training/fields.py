"""Checked access to the fields of one row of training data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from asr_data.types import Message

Fields = Mapping[str, Any]

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLE = {"Human": "user", "Assistant": "assistant"}


class UnusableRow(Exception):  # noqa: N818 - a row's fate, not a program's failure
    """One row that cannot be learnt from; caught, counted and reported by the reader.

    Attributes:
        reason: stable code, snake_case; what the counts are kept by.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def as_fields(row: Any) -> Fields:
    """Return a row that must be an object with named fields."""
    if not isinstance(row, Mapping):
        raise UnusableRow("not_an_object", f"the row is {row!r:.80}, not an object with fields")
    return row


def field(row: Fields, name: str) -> Any:
    """Return a field that must be there and not be null."""
    if row.get(name) is None:
        raise UnusableRow("missing_field", f"{name!r} is missing or null; the row has {sorted(row)}")
    return row[name]


def list_field(row: Fields, name: str) -> list[Any]:
    """Return a field that must be a list with something in it."""
    values = field(row, name)
    if not isinstance(values, list) or not values:
        raise UnusableRow("not_a_list", f"{name!r} must be a non-empty list, not {values!r:.80}")
    return values


def number(value: Any, name: str) -> float:
    """Return a finite number; booleans are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnusableRow("not_a_number", f"{name} must be a finite number, not {value!r:.80}")
    return float(value)


def encodable(text: str, name: str) -> str:
    """Return text that has a UTF-8 form, so that it has byte offsets."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnusableRow("not_unicode", f"{name} has a lone surrogate at {error.start}") from None
    return text


def prompt_messages(row: Fields, name: str = "prompt") -> list[Message]:
    """Return the prompt as messages that end with the user's turn."""
    messages = _messages(field(row, name), "user", name)
    if messages[-1]["role"] != "user":
        raise UnusableRow("prompt_without_question", f"{name!r} ends with role {messages[-1]['role']!r}")
    return messages


def response_messages(row: Fields, name: str) -> list[Message]:
    """Return a response as messages that begin with the assistant's turn."""
    messages = _messages(field(row, name), "assistant", name)
    if messages[0]["role"] != "assistant":
        raise UnusableRow("not_a_response", f"{name!r} begins with role {messages[0]['role']!r}")
    return messages


def _messages(value: Any, role: str, name: str) -> list[Message]:
    if isinstance(value, str):
        value = [{"role": role, "content": value}]
    if not isinstance(value, Sequence) or not value:
        raise UnusableRow("not_text", f"{name!r} must be a string or messages, not {value!r:.80}")
    return [_message(item, name) for item in value]


def _message(item: Any, name: str) -> Message:
    if not isinstance(item, Mapping) or not isinstance(item.get("role"), str):
        raise UnusableRow("not_a_message", f"{name!r} holds {item!r:.80}, not a message with a role")
    content = item.get("content")
    if not isinstance(content, str) or not content.strip():
        raise UnusableRow("empty_text", f"{name!r}: the {item['role']} message has no text")
    return {"role": item["role"], "content": encodable(content, name)}


def transcript_messages(transcript: str, name: str) -> list[Message]:
    r"""Return the turns of an hh-rlhf transcript, ``"\n\nHuman: …\n\nAssistant: …"``.

    White space around a turn belongs to the layout and is dropped. Turns of one speaker in a row stay apart.
    """
    parts = _TURN.split(transcript)
    if len(parts) == 1 or parts[0].strip():
        raise UnusableRow("not_a_transcript", f"{name!r} does not begin with a Human or Assistant turn")
    turns = [
        {"role": _ROLE[speaker], "content": text.strip()}
        for speaker, text in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return [_message(turn, name) for turn in turns]


def is_transcript(value: Any) -> bool:
    """Return whether a field looks like an hh-rlhf transcript: it opens with a marked turn."""
    return isinstance(value, str) and _TURN.match(value) is not None


def without_common_turns(
    chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Split two transcripts into their common prompt and what follows it on each side.

    The prompt is the longest common run of turns that ends with the user's and leaves both sides an
    assistant's turn to begin with.
    """
    shared = 0
    for left, right in zip(chosen, rejected, strict=False):
        if left != right:
            break
        shared += 1
    for end in range(shared, 0, -1):
        rest = (chosen[end:], rejected[end:])
        if chosen[end - 1]["role"] == "user" and all(s and s[0]["role"] == "assistant" for s in rest):
            return chosen[:end], *rest
    raise UnusableRow("no_common_prompt", "the transcripts share no turns that end with a question")
