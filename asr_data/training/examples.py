"""What the training sources yield: preference pairs, and responses with labelled byte spans.

Prompts and responses are message lists throughout, so that the chat template is always applied and a scorer
is trained on the layout it will see. Byte offsets count the UTF-8 bytes of the *response text*, as in
:mod:`asr_data.types`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from asr_data.types import Message, Text


@dataclass(frozen=True, slots=True)
class Label:
    """What is known about one span of a response.

    Attributes:
        start: first byte of the span in the response text.
        end: one past its last byte; ``start < end``.
        target: in ``[0, 1]``; 1 is good, 0 is bad.
    """

    start: int
    end: int
    target: float


@dataclass(frozen=True, slots=True)
class LabelledResponse:
    """A response and its labels.

    Attributes:
        content: the assistant messages.
        labels: in order, without overlap. Bytes that no label covers are unknown, which is not the same as
            good: separators, and everything after a first error.
    """

    content: Text
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class PreferenceExample:
    """Two responses to one prompt, the first preferred.

    Attributes:
        group: identity of the question (:func:`group_of`); what is held out and resampled as a whole.
        prompt: messages that end with the user's turn.
        chosen: messages of the preferred response.
        rejected: messages of the other one.
    """

    group: str
    prompt: Text
    chosen: Text
    rejected: Text


@dataclass(frozen=True, slots=True)
class LabelledExample:
    """One response with labels, and the prompt that it answers.

    Attributes:
        group: identity of the question (:func:`group_of`).
        prompt: messages that end with the user's turn.
        response: the response and its labels.
        source: name of the source, so that figures can be given for each.
    """

    group: str
    prompt: Text
    response: LabelledResponse
    source: str


def group_of(prompt: Text) -> str:
    """Return the identity of a question: 16 hexadecimal digits, equal for equal first user turns.

    Case and white space do not count. Later turns do not count either: conversations that open with the same
    question stay together when questions are held out.
    """
    question = first_user_turn(prompt)
    normalised = " ".join(question.casefold().split())
    return hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def first_user_turn(prompt: Text) -> str:
    """Return the content of the first user message, or all text where no message is the user's."""
    if isinstance(prompt, str):
        return prompt
    for message in prompt:
        if message["role"] == "user":
            return str(message["content"])
    return "\n".join(str(message["content"]) for message in prompt)


def as_messages(text: Text, role: str) -> list[Message]:
    """Return ``text`` as messages; a string becomes one message of ``role``."""
    if isinstance(text, str):
        return [{"role": role, "content": text}]
    return list(text)


def response_text(content: Text) -> str:
    """Return what the assistant wrote: the string, or the assistant messages' contents in order."""
    if isinstance(content, str):
        return content
    return "".join(str(message["content"]) for message in content if message["role"] == "assistant")


def byte_offsets(text: str, positions: Iterable[int]) -> list[int]:
    """Return the UTF-8 byte offset of each code-point position of ``text``.

    Positions may be in any order, from 0 to ``len(text)``. The text is encoded once, not once per position.
    """
    wanted = list(positions)
    if text.isascii():
        return wanted
    ends = [0]
    for character in text:
        ends.append(ends[-1] + len(character.encode("utf-8")))
    return [ends[position] for position in wanted]


def labels_from_characters(text: str, spans: Iterable[tuple[int, int, float]]) -> tuple[Label, ...]:
    """Return labels for spans ``(start, end, target)`` that are counted in code points of ``text``."""
    parts = list(spans)
    offsets: Iterator[int] = iter(byte_offsets(text, (edge for part in parts for edge in part[:2])))
    return tuple(Label(next(offsets), next(offsets), target) for _, _, target in parts)
