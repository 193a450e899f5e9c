"""The response text: what the assistant wrote in a completion, as one text that depends on no chat template.

A string is its own response text. A message gives, in this order and only where it has them, its reasoning, its content
and its tool calls; the texts of a completion's messages follow each other without anything between::

    <think>
    REASONING
    </think>

    CONTENT
    <tool_call>
    {"name": "NAME", "arguments": ARGUMENTS}
    </tool_call>

A message of content alone is that content. The reasoning is the first of ``reasoning_content``, ``thinking`` and
``reasoning`` that is there, the order of transformers' ``apply_chat_template``. Arguments that are a text stand as they
are, others as JSON with the characters as they are. A call stands on lines of its own.

A scorer that reads contents alone leaves the rest unknown; :func:`content_spans` says where the contents are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from asr_data.types import ByteRewards, Int32, Int64, Label, Message, Text

PartKind: TypeAlias = Literal["reasoning", "content", "call"]

REASONING_FIELDS: Final = ("reasoning_content", "thinking", "reasoning")
"""The names of a message's reasoning; the first that is there counts, as in transformers 5."""

RESPONSE_TEXT: Final = "reasoning, content, calls"
"""What a run's plan says of its response texts. Plans of earlier versions say nothing, and mean the contents alone."""
_CLOSE_THINKING: Final = "\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class ResponsePart:
    """A stretch of one kind in the response text, its marks left out.

    Attributes:
        kind: what it is.
        message: number of the message in the completion.
        start, end: code points of the response text.
        name, arguments: for a call, the code points of its function's name (quotes left out) and of its arguments.
    """

    kind: PartKind
    message: int
    start: int
    end: int
    name: tuple[int, int] = (0, 0)
    arguments: tuple[int, int] = (0, 0)


def response_text(content: Text) -> str:
    """What the assistant wrote; see the module."""
    return content if isinstance(content, str) else response_parts(content)[0]


def response_parts(content: Text) -> tuple[str, tuple[ResponsePart, ...]]:
    """The response text and its parts in order. Parts that are empty are left out."""
    if isinstance(content, str):
        return content, (ResponsePart("content", 0, 0, len(content)),) if content else ()
    text, parts = "", []
    for number, message in enumerate(content):
        if message.get("role") == "assistant":
            own, found = _message_text(message, number, len(text))
            text += own
            parts += found
    return text, tuple(parts)


def reasoning_field(message: Message) -> str | None:
    """The key of a message's reasoning, or None where it has none."""
    field = next((name for name in REASONING_FIELDS if message.get(name) is not None), None)
    return field if field is not None and isinstance(message[field], str) and message[field] else None


def tool_calls(message: Message) -> list[Mapping[str, Any]]:
    """The functions that a message calls: objects with ``name`` and ``arguments``."""
    calls = message.get("tool_calls")
    found = [call.get("function", call) for call in calls or () if isinstance(call, Mapping)]
    return [function for function in found if isinstance(function, Mapping)]


def has_only_content(content: Text) -> bool:
    """Whether the assistant wrote nothing but contents, so that the response text is these."""
    return isinstance(content, str) or not any(
        m.get("role") == "assistant" and (reasoning_field(m) or tool_calls(m)) for m in content
    )


def recorded_text(content: Text, recorded: str | None) -> str:
    """The response text as it was for a run whose plan says ``recorded`` of it."""
    return response_text(content) if recorded == RESPONSE_TEXT else contents_text(content)


def contents_text(content: Text) -> str:
    """The assistant's contents alone, one after the other: what labels and scorers of contents count over."""
    text, parts = response_parts(content)
    return "".join(text[part.start : part.end] for part in parts if part.kind == "content")


def content_spans(content: Text) -> list[tuple[int, int]]:
    """Bytes of the response text that hold the contents, in order."""
    text, parts = response_parts(content)
    return [
        (len(text[: part.start].encode()), len(text[: part.end].encode())) for part in parts if part.kind == "content"
    ]


def labels_in_response(labels: Sequence[Label], content: Text) -> tuple[Label, ...]:
    """Labels over the bytes of the contents as labels over the bytes of the response text.

    A label that crosses from one content into the next is cut where something else stands between them.
    """
    if has_only_content(content):
        return tuple(labels)
    spans = content_spans(content)
    moved = []
    for label in labels:
        for (first, last), begins in zip(spans, _begins(spans), strict=True):
            start, end = max(label.start, begins), min(label.end, begins + last - first)
            if start < end:
                moved.append(replace(label, start=start - begins + first, end=end - begins + first))
    return tuple(moved)


def rewards_in_response(rewards: ByteRewards, content: Text) -> ByteRewards:
    """Rewards over the bytes of the contents as rewards over the response text; what lies between is unknown."""
    if has_only_content(content):
        return rewards
    spans = content_spans(content)
    size = len(response_text(content).encode())
    ends: list[int] = []
    values: list[float] = []
    reached = 0
    if len(rewards.span_end) and rewards.span_end[0] == 0:
        ends.append(0)
        values.append(float(rewards.span_reward[0]))
    for (first, last), begins in zip(spans, _begins(spans), strict=True):
        if first > reached:
            ends.append(first)
            values.append(float("nan"))
        inside = np.flatnonzero((rewards.span_end > begins) & (_starts(rewards) < begins + last - first))
        for span in inside.tolist():
            ends.append(min(int(rewards.span_end[span]), begins + last - first) - begins + first)
            values.append(float(rewards.span_reward[span]))
        reached = last
    if reached < size:
        ends.append(size)
        values.append(float("nan"))
    steps = [_moved(int(end), spans) for end in rewards.step_end]
    return ByteRewards(
        np.array(ends, np.int32), np.array(values, np.float32), np.array(steps, np.int32), rewards.reward
    )


def unknown_rewards(content: Text) -> ByteRewards:
    """Rewards of a response of which nothing is known."""
    size = len(response_text(content).encode())
    none = np.zeros(0, np.int32)
    return ByteRewards(np.array([size], np.int32), np.array([np.nan], np.float32), none)


def without(rewards: ByteRewards, unread: Sequence[tuple[int, int]]) -> ByteRewards:
    """The rewards with stretches of bytes made unknown; what is left of a span keeps its reward."""
    if not unread:
        return rewards
    edges = sorted({*map(int, rewards.span_end), *(edge for stretch in unread for edge in stretch)} - {0})
    edges = [edge for edge in edges if edge <= int(rewards.span_end[-1])]
    leading = 1 if rewards.span_end[0] == 0 else 0
    values = []
    for end in edges:
        known = not any(start < end <= stop for start, stop in unread)
        span = int(np.searchsorted(rewards.span_end[leading:], end)) + leading
        values.append(float(rewards.span_reward[span]) if known else float("nan"))
    first = [float(rewards.span_reward[0])] * leading
    return replace(
        rewards,
        span_end=np.array([0] * leading + edges, np.int32),
        span_reward=np.array(first + values, np.float32),
    )


def bytes_of_contents(edges: Int32, content: Text) -> Int32:
    """Bytes of the response text as bytes of the contents alone; what lies outside of them goes to the nearest before.

    Args:
        edges: int32 ``[n]``, byte positions in the response text.
        content: the response.
    """
    if has_only_content(content):
        return edges
    reached = np.zeros_like(edges)
    for first, last in content_spans(content):
        reached += np.clip(edges - first, 0, last - first)
    return reached


def stored_rewards(rewards: ByteRewards, content: Text) -> ByteRewards:
    """Rewards as an output holds them, over the response text; those of earlier versions are over the contents."""
    size = int(rewards.span_end[-1]) if len(rewards.span_end) else 0
    earlier = not has_only_content(content) and size == len(contents_text(content).encode())
    return rewards_in_response(rewards, content) if earlier else rewards


def _starts(rewards: ByteRewards) -> Int64:
    return np.concatenate([[0], rewards.span_end[:-1]]).astype(np.int64)


def _begins(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Where each content begins among the contents alone."""
    return [0, *accumulate(last - first for first, last in spans)][: len(spans)]


def _moved(end: int, spans: Sequence[tuple[int, int]]) -> int:
    """A byte end among the contents alone, in the response text."""
    for (first, last), begins in zip(spans, _begins(spans), strict=True):
        if end <= begins + last - first:
            return end - begins + first
    return spans[-1][1] if spans else 0


def _message_text(message: Message, number: int, before: int) -> tuple[str, list[ResponsePart]]:
    """One message's text, and its parts in a response text of which ``before`` code points stand before it."""
    text = ""
    parts: list[ResponsePart] = []
    if (field := reasoning_field(message)) is not None:
        text = "<think>\n"
        start = before + len(text)
        parts.append(ResponsePart("reasoning", number, start, start + len(message[field])))
        text += message[field] + _CLOSE_THINKING
    if content := message.get("content") or "":
        parts.append(ResponsePart("content", number, before + len(text), before + len(text) + len(content)))
        text += content
    for function in tool_calls(message):
        text += ("\n" if text and not text.endswith("\n") else "") + "<tool_call>\n"
        called, part = _call(function, number, before + len(text))
        parts.append(part)
        text += called + "\n</tool_call>\n"
    return text, parts


def _call(function: Mapping[str, Any], number: int, start: int) -> tuple[str, ResponsePart]:
    name = json.dumps(str(function.get("name", "")), ensure_ascii=False)
    arguments = function.get("arguments", {})
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False, default=str)
    head, middle = '{"name": ', ', "arguments": '
    text = f"{head}{name}{middle}{arguments}}}"
    named = start + len(head) + 1, start + len(head) + len(name) - 1
    first = start + len(head) + len(name) + len(middle)
    return text, ResponsePart("call", number, start, start + len(text), named, (first, first + len(arguments)))


# --- positions -------------------------------------------------------------------------------------------------------


def byte_offsets(text: str) -> Int64:
    """Return int64 ``[len(text) + 1]``: the byte at which each code point starts, and the length in bytes.

    Raises:
        UnicodeEncodeError: ``text`` holds a lone surrogate, which has no UTF-8 form.
    """
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    return np.append(np.flatnonzero((data & 0xC0) != 0x80), data.size).astype(np.int64, copy=False)


def code_points(text: str, byte_positions: Int32) -> Int32:
    """Return int32: the code point that holds each byte; the length of the text for its end."""
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    holder = np.append(np.cumsum((data & 0xC0) != 0x80) - 1, len(text))
    return holder[byte_positions].astype(np.int32)
