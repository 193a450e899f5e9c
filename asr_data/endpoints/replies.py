"""Replies that hold JSON, and prompts whose texts stand between marks.

The marks carry a code that is a hash of the texts, so that no text can contain its own end mark. This makes it harder
for a text to address the model, and does not make it impossible.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from asr_data.types import Message, Text


class MalformedReplyError(Exception):
    """A reply that is of no use. The message never quotes the reply."""


class RefusedReplyError(MalformedReplyError):
    """A reply in which the model, or a filter before it, declines to answer."""


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object in a text, from left to right, outermost only."""
    decoder = json.JSONDecoder(strict=False)  # models break lines inside of texts
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield value
        at = text.find("{", end)


def marked(parts: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The code of the marks, and the texts between their marks.

    Args:
        parts: ``(title, text)`` in order.
    """
    code = hashlib.sha256(json.dumps([text for _, text in parts]).encode()).hexdigest()[:12]
    return code, "\n\n".join(f"[{code} BEGIN {title}]\n{text}\n[{code} END {title}]" for title, text in parts)


def as_messages(instructions: str, user: str, *, system_role: bool) -> list[dict[str, str]]:
    """Instructions as a system message, or before the user's text for models without one."""
    if not system_role:
        return [{"role": "user", "content": f"{instructions}\n\n{user}"}]
    return [{"role": "system", "content": instructions}, {"role": "user", "content": user}]


def with_note(asked: Sequence[dict[str, str]], note: str) -> list[dict[str, str]]:
    """The same messages with a note at the end of the last one."""
    *before, last = asked
    return [*before, {**last, "content": f"{last['content']}\n\n{note}"}]


def reminded(asked: Sequence[dict[str, str]], problem: str) -> list[dict[str, str]]:
    """The same messages with a reminder, after an unusable reply. The reply is not repeated: it may quote an answer."""
    reminder = f"An earlier reply could not be used: {problem}. Reply with one JSON object and nothing else."
    return with_note(asked, reminder)


def as_text(text: Text) -> str:
    """A text unchanged, the content of a single assistant message, or messages joined with their roles."""
    if isinstance(text, str):
        return text
    if len(text) == 1 and text[0]["role"] == "assistant":
        return _content(text[0])
    return "\n\n".join(f"{message['role']}:\n{_content(message)}" for message in text)


def _content(message: Message) -> str:
    calls = message.get("tool_calls")
    parts = [message.get("content") or "", json.dumps(calls, ensure_ascii=False) if calls else ""]
    return "\n".join(filter(None, parts))
