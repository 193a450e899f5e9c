"""Where a completion's text stands inside the rendered chat template.

Templates add headers and end-of-turn tokens around a message, and some trim it. The completion is rendered
twice: as it is, and with each message's content replaced by a sentinel. What stands around the sentinels is the
template's own text; the rendering must be exactly that text with the contents, or trimmed contents, put in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.types import Message

_TRIMS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    str.strip,
    str.lstrip,
    str.rstrip,
    lambda text: text.strip("\n"),
    lambda text: text.lstrip("\n"),
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of a completion inside the rendered text.

    Attributes:
        start, end: code points of the rendered text that hold the content.
        text_start: the code point of the response text at which the content (after trimming) starts.
        assistant: whether the assistant wrote it; only then is it part of the response text.
    """

    start: int
    end: int
    text_start: int
    assistant: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt with one completion, as the model reads it.

    Attributes:
        text: the whole rendered text.
        pieces: the completion's messages in order.
        response: the response text (what the assistant wrote).
    """

    text: str
    pieces: tuple[Piece, ...]
    response: str


def template_arguments(template_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for ``apply_chat_template``, as TRL passes them: ``tools`` always, None if there are none."""
    return {"tools": None, **template_kwargs}


def apply_template(hf: Any, messages: Sequence[Message], arguments: Mapping[str, Any], *, generate: bool) -> str:
    """Render messages to text.

    Raises:
        RowRejected: ``template_error`` if the template refuses these messages.
    """
    try:
        return str(
            hf.apply_chat_template(
                [dict(m) for m in messages], tokenize=False, add_generation_prompt=generate, **arguments
            )
        )
    except Exception as error:  # a template is a program: it may raise anything
        raise RowRejected("template_error", f"the chat template failed: {error}") from error


def render_messages(
    hf: Any, prompt: Sequence[Message], completion: Sequence[Message], template_kwargs: Mapping[str, Any]
) -> Rendered:
    """Render prompt and completion and find each message of the completion.

    Raises:
        RowRejected: ``template_error``, or ``template_alters_text`` where the rendering holds a content neither as
            it is nor trimmed.
    """
    arguments = template_arguments(template_kwargs)
    text = apply_template(hf, [*prompt, *completion], arguments, generate=False)
    contents = [m.get("content") or "" for m in completion]
    sentinels = _sentinels(len(contents), text)
    stand_ins = [{**m, "content": s} if c else dict(m) for m, c, s in zip(completion, contents, sentinels, strict=True)]
    skeleton = apply_template(hf, [*prompt, *stand_ins], arguments, generate=False)
    filled = [(m, c, s) for m, c, s in zip(completion, contents, sentinels, strict=True) if c]
    around = _split_at(skeleton, [sentinel for _, _, sentinel in filled])
    if around is None or not text.startswith(around[0]):
        raise RowRejected("template_alters_text", "the chat template does not hold the messages as they are")
    pieces, position, written = [], len(around[0]), 0
    for (message, content, _), after in zip(filled, around[1:], strict=True):
        trimmed = _as_rendered(content, after, text, position)
        if trimmed is None:
            raise RowRejected("template_alters_text", f"the chat template changes the message {content[:60]!r}")
        assistant = message["role"] == "assistant"
        pieces.append(Piece(position, position + len(trimmed), written + content.find(trimmed), assistant))
        position += len(trimmed) + len(after)
        written += len(content) if assistant else 0
    if position != len(text):
        raise RowRejected("template_alters_text", "the chat template depends on the content of the messages")
    return Rendered(text, tuple(pieces), response_text(completion))


def render_strings(prompt: str, completion: str, end: str) -> Rendered:
    """A plain string completion, closed with the end-of-sequence token as TRL does it."""
    closed = completion if completion.endswith(end) else completion + end
    piece = Piece(len(prompt), len(prompt) + len(completion), 0, assistant=True)
    return Rendered(prompt + closed, (piece,), completion)


def _as_rendered(content: str, after: str, text: str, at: int) -> str | None:
    """The content as it stands in ``text``, followed by the template's own ``after``.

    ``after`` matters: where a template trims and then adds a space, a content with a space at its end seems to
    stand there untrimmed.
    """
    for trim in _TRIMS:
        if text.startswith(trim(content) + after, at):
            return trim(content)
    return None


def _split_at(text: str, marks: Sequence[str]) -> list[str] | None:
    """What stands before, between and after ``marks``, or None where one of them is missing or out of order."""
    parts = []
    for mark in marks:
        part, found, text = text.partition(mark)
        if not found:
            return None
        parts.append(part)
    return [*parts, text]


def _sentinels(count: int, text: str) -> list[str]:
    """Strings that no template changes and that the text does not hold."""
    mark = "q7Zk"
    while mark in text:
        mark += "Zk"
    return [f"{mark}{i}w" for i in range(count)]
