"""From a record to the one shape that later stages know, or to the reason why not.

The prompt of a pair without a prompt column is what both conversations begin with, message by message, as
TRL's ``extract_prompt`` finds it; unlike there, what remains must begin and end with the assistant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from asr_data.errors import RowRejected
from asr_data.rows.layouts import Layout, Role
from asr_data.rows.transcripts import parse_transcript
from asr_data.types import Completion, Message, Row, Side, Text

Sides: TypeAlias = dict[Side, Text]

_LABELS = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}


def normalise(index: int, record: Mapping[str, Any], layout: Layout) -> Row:
    """One row in the common shape.

    Args:
        index: position in the input.
        record: the input columns.
        layout: which column is what.

    Raises:
        RowRejected: ``missing_column``, ``wrong_type``, ``invalid_json``, ``invalid_unicode``, ``nul_byte``,
            ``empty_prompt``, ``empty_response``, ``identical_sides``, ``prompt_mismatch`` or
            ``last_turn_not_assistant``.
    """
    sides: Sides = {side: _response(record, layout, side) for side in layout.sides}
    prompt, sides = _separate(_prompt(record, layout), sides) if "prompt" in layout.columns else _extract_prompt(sides)
    _check_texts(prompt, sides)
    verdict = {"chosen": True, "rejected": False, "completion": _label(record, layout)}
    return Row(
        index=index,
        source=record,
        prompt=prompt,
        completions=tuple(Completion(side, content, verdict[side]) for side, content in sides.items()),
        template_kwargs=_template_kwargs(record, layout),
    )


# --- reading columns -------------------------------------------------------------------------------------


def _value(record: Mapping[str, Any], layout: Layout, role: Role) -> tuple[str, Any]:
    column = layout.columns[role]
    value = record.get(column)
    if value is None:
        raise RowRejected("missing_column", f"column {column!r} ({role}) is absent or null")
    return column, value


def _prompt(record: Mapping[str, Any], layout: Layout) -> Text:
    column, value = _value(record, layout, "prompt")
    return value if isinstance(value, str) else _messages(value, column)


def _response(record: Mapping[str, Any], layout: Layout, side: Side) -> Text:
    column, value = _value(record, layout, side)
    if layout.kind == "transcripts":
        if not isinstance(value, str):
            raise RowRejected("wrong_type", f"column {column!r} is not a text")
        _check_nonempty_response(value, column)
        return parse_transcript(value, column)
    return value if isinstance(value, str) else _messages(value, column)


def _label(record: Mapping[str, Any], layout: Layout) -> bool:
    if layout.kind != "unpaired":
        return True
    column, value = _value(record, layout, "label")
    key = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(key, bool | int | str) or key not in _LABELS:
        raise RowRejected("wrong_type", f"column {column!r} is {value!r}; a label is true, false, 1 or 0")
    return _LABELS[key]


def _template_kwargs(record: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """What the chat template gets beside the messages: ``tools`` and the entries of the kwargs column."""
    arguments: dict[str, Any] = {}
    for column in filter(None, (layout.template_kwargs_column, layout.tools_column)):
        value = _parsed(record.get(column), column)
        if value is None:
            continue
        if column == layout.tools_column:
            arguments["tools"] = value
        elif isinstance(value, dict):
            arguments.update(value)
        else:
            raise RowRejected("wrong_type", f"column {column!r} is {type(value).__name__}, not an object")
    return arguments


def _parsed(value: Any, column: str) -> Any:
    """A structured column's value; such columns are often stored as JSON text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowRejected("invalid_json", f"column {column!r} is not valid JSON: {error}") from error
    return _without_nulls(value)


# --- messages --------------------------------------------------------------------------------------------


def _messages(value: Any, column: str) -> list[Message]:
    """A message list, or a single message, with all keys that hold something."""
    items = [value] if isinstance(value, Mapping) else value
    if not isinstance(items, Sequence):
        raise RowRejected("wrong_type", f"column {column!r} is {type(value).__name__}, not a text or messages")
    return [_message(item, column, number) for number, item in enumerate(items)]


def _message(item: Any, column: str, number: int) -> Message:
    place = f"column {column!r}, message {number}"
    if not isinstance(item, Mapping):
        raise RowRejected("wrong_type", f"{place} is {type(item).__name__}, not an object")
    message: dict[str, Any] = _without_nulls(item)
    if not isinstance(message.get("role"), str):
        raise RowRejected("wrong_type", f"{place} has no role")
    if message.get("tool_calls"):
        message.setdefault("content", None)
    content = message.get("content")
    if not isinstance(content, str) and (content is not None or not message.get("tool_calls")):
        raise RowRejected("wrong_type", f"{place} has no content, or one that is not a text")
    return message


def _without_nulls(value: Any) -> Any:
    """The value without keys that are null.

    Arrow gives every object of a column the keys of all of them; templates ask whether a key is there.
    """
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value]
    return value


# --- prompt and completions ------------------------------------------------------------------------------


def _extract_prompt(sides: Sides) -> tuple[list[Message], Sides]:
    """The prompt that two conversations share, and what is left of each.

    As in TRL, the last message of the shorter one is never part of the prompt.
    """
    chosen, rejected = (_as_messages(sides[side]) for side in ("chosen", "rejected"))
    if not chosen or not rejected:
        raise RowRejected("empty_response", "a conversation has no messages")
    if chosen == rejected:
        raise RowRejected("identical_sides", "the two conversations are the same")
    longest = min(len(chosen), len(rejected)) - 1
    shared = next((at for at in range(longest) if chosen[at] != rejected[at]), longest)
    if shared == 0:
        raise RowRejected("prompt_mismatch", "the two conversations do not begin with the same message")
    left: Sides = {"chosen": chosen[shared:], "rejected": rejected[shared:]}
    for side, messages in left.items():
        role = messages[0]["role"]  # type: ignore[index]
        if role != "assistant":
            raise RowRejected(
                "prompt_mismatch",
                f"the conversations part at message {shared}, by {role} in {side} and not by the assistant",
            )
    return chosen[:shared], left


def _separate(prompt: Text, sides: Sides) -> tuple[Text, Sides]:
    """Prompt and completions of the same kind, where the completions may repeat the prompt.

    A completion of messages may begin with the prompt's messages, and so may one whose prompt is a text that
    is its first user message (UltraFeedback). A text prompt of completions that begin with the assistant is a
    user message.
    """
    if all(isinstance(content, str) for content in sides.values()):
        if not isinstance(prompt, str):
            raise RowRejected("wrong_type", "the prompt holds messages and the responses are texts")
        return prompt, sides
    conversations = {side: _as_messages(content) for side, content in sides.items()}
    if not all(conversations.values()):
        raise RowRejected("empty_response", "a response has no messages")
    if isinstance(prompt, str):
        if all(messages[0]["role"] == "assistant" for messages in conversations.values()):
            return [{"role": "user", "content": prompt}] if prompt.strip() else [], {**conversations}
        for side, messages in conversations.items():
            if _first_user_content(messages) != prompt:
                raise RowRejected("prompt_mismatch", f"the first user message of {side} is not the prompt")
        if len(conversations) == 2:
            return _extract_prompt({**conversations})
        messages = next(iter(conversations.values()))
        prompt = messages[: 1 + next(at for at, message in enumerate(messages) if message["role"] == "user")]
    known = list(prompt)
    if known and all(messages[: len(known)] == known for messages in conversations.values()):
        conversations = {side: messages[len(known) :] for side, messages in conversations.items()}
    for side, messages in conversations.items():
        if not messages:
            raise RowRejected("empty_response", f"{side} holds nothing but the prompt")
        if messages[0]["role"] != "assistant":
            raise RowRejected("prompt_mismatch", f"{side} begins with {messages[0]['role']}, not with the assistant")
    return known, {**conversations}


def _as_messages(content: Text) -> list[Message]:
    if isinstance(content, str):
        raise RowRejected("wrong_type", "a response is a text where messages are needed")
    return list(content)


def _first_user_content(messages: Sequence[Message]) -> str | None:
    return next((message["content"] for message in messages if message["role"] == "user"), None)


# --- checks ----------------------------------------------------------------------------------------------


def _check_texts(prompt: Text, sides: Sides) -> None:
    for place, content in [("prompt", prompt), *sides.items()]:
        _check_characters(content, place)
    if not _has_text(prompt):
        raise RowRejected("empty_prompt", "the prompt is empty or nothing but white space")
    for side, content in sides.items():
        if not isinstance(content, str) and content[-1]["role"] != "assistant":
            role = content[-1]["role"]
            raise RowRejected("last_turn_not_assistant", f"{side} ends with a turn by {role}, not by the assistant")
        _check_nonempty_response(content, side)
    if len(sides) == 2 and sides["chosen"] == sides["rejected"]:
        raise RowRejected("identical_sides", "chosen and rejected are the same")


def _check_nonempty_response(content: Text, place: str) -> None:
    written = content
    if not isinstance(content, str):
        written = [message for message in content if message["role"] == "assistant"]
    if not _has_text(written):
        raise RowRejected("empty_response", f"{place} is empty or nothing but white space")


def _has_text(content: Text) -> bool:
    if isinstance(content, str):
        return bool(content.strip())
    return any((message.get("content") or "").strip() for message in content)


def _check_characters(content: Text, place: str) -> None:
    for text in _strings(content):
        if "\0" in text:
            raise RowRejected("nul_byte", f"{place} holds a NUL character at position {text.index(chr(0))}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowRejected("invalid_unicode", f"{place} holds a lone surrogate: {error}") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
