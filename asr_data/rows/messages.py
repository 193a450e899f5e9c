"""Messages as rows hold them, as a list of messages with role and content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr_data.errors import RowRejected
from asr_data.response import REASONING_FIELDS, reasoning_field, tool_calls
from asr_data.rows.sharegpt import parse_sharegpt
from asr_data.types import Message, Text

MESSAGE_KEYS = (frozenset({"role", "content"}), frozenset({"from", "value"}), frozenset({"input", "output"}))
"""What objects of a conversation have: a message each, or a request and its answer (Capybara)."""

_TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of content parts that hold a text; the last two are of OpenAI's Responses API."""


def parse_messages(value: Any, column: str) -> list[Message]:
    """A message list, or a single message, with all keys that hold something."""
    items = [value] if isinstance(value, Mapping) else value
    if not isinstance(items, Sequence):
        raise RowRejected("wrong_type", f"column {column!r} is {type(value).__name__}, not a text or messages")
    return [message for number, item in enumerate(items) for message in _messages(item, column, number)]


def _messages(item: Any, column: str, number: int) -> list[Message]:
    """One message, or the two of a request with its answer."""
    if not isinstance(item, Mapping) or not MESSAGE_KEYS[2] <= item.keys() or {"role", "from"} & item.keys():
        return [_message(item, column, number)]
    spoken = (("user", item["input"]), ("assistant", item["output"]))
    return [_message({"role": role, "content": content}, column, number) for role, content in spoken]


def _message(item: Any, column: str, number: int) -> Message:
    place = f"column {column!r}, message {number}"
    if not isinstance(item, Mapping):
        raise RowRejected("wrong_type", f"{place} is {type(item).__name__}, not an object")
    message: dict[str, Any] = without_nulls(item)
    if "role" not in message and "from" in message:
        return parse_sharegpt(message, place)
    if not isinstance(message.get("role"), str):
        raise RowRejected("wrong_type", f"{place} has no role")
    _check_calls(message, place)
    for name in ("content", *REASONING_FIELDS):
        if isinstance(message.get(name), list):
            message[name] = _joined(message[name], place if name == "content" else f"{place}, {name}")
    if any(not isinstance(message.get(name, ""), str) for name in REASONING_FIELDS):
        raise RowRejected("wrong_type", f"{place} has reasoning that is not a text")
    may_lack_content = bool(message.get("tool_calls")) or reasoning_field(message) is not None
    if may_lack_content:
        message.setdefault("content", None)
    content = message.get("content")
    if not isinstance(content, str) and (content is not None or not may_lack_content):
        raise RowRejected("wrong_type", f"{place} has no content, or one that is not a text")
    return message


def _check_calls(message: Mapping[str, Any], place: str) -> None:
    calls = message.get("tool_calls")
    if not calls:
        return
    if message["role"] != "assistant":
        raise RowRejected("wrong_type", f"{place} has tool calls, and its role is {message['role']}")
    functions = tool_calls(message) if isinstance(calls, list | tuple) else []
    if len(functions) != len(calls) or not all(isinstance(one.get("name"), str) for one in functions):
        raise RowRejected("wrong_type", f"{place} has tool calls that are not a list of functions with a name")


def _joined(parts: Sequence[Any], place: str) -> str:
    """Content that is a list of parts, as OpenAI's API and templates of vision models have it: the texts, joined.

    Raises:
        RowRejected: ``wrong_type`` where a part is no text, such as an image.
    """
    texts = []
    for number, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        text = part.get("text") if isinstance(part, Mapping) else None
        if kind not in _TEXT_PARTS or not isinstance(text, str):
            raise RowRejected("wrong_type", f"{place}: part {number} of the content is {kind!r}; only text can be read")
        texts.append(text)
    return "".join(texts)


def without_nulls(value: Any) -> Any:
    """The value without keys that are null.

    Arrow gives every object of a column the keys of all of them; templates ask whether a key is there.
    """
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


def has_text(content: Text) -> bool:
    """Whether a text holds more than white space, or a message of a list does, in its content, reasoning or calls."""
    if isinstance(content, str):
        return bool(content.strip())
    return any(
        (message.get("content") or "").strip()
        or tool_calls(message)
        or ((field := reasoning_field(message)) is not None and message[field].strip())
        for message in content
    )
