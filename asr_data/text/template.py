"""Where the assistant's text is inside the rendered chat template.

Templates add headers and end-of-turn tokens around a message, and some trim it. The completion is rendered
twice: as it is, and with each message's content replaced by a sentinel. What stands around the sentinels is the
template's own text; the rendering must be exactly that text with the contents, or trimmed contents, put in.

Messages with more than a content are in :mod:`asr_data.text.turns`; :mod:`asr_data.text.rendering` chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asr_data.errors import ConfigError, RowRejected
from asr_data.response import response_text
from asr_data.text.clock import MEMORY, SECONDS, Rendering, TemplateMemoryError, TemplateTimeoutError, fixed_clock
from asr_data.types import Message

if TYPE_CHECKING:
    from asr_data.text.tokenizer import Tokenizer

_TRIMS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    str.strip,
    str.lstrip,
    str.rstrip,
    lambda text: text.strip("\n"),
    lambda text: text.lstrip("\n"),
    lambda text: text.rstrip("\n"),
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a completion's text inside the rendered text, character for character.

    Attributes:
        start, end: code points of the rendered text that hold it.
        text_start: the code point of the response text at which it (after trimming) starts; None for a text of the
            assistant's that the response text does not hold.
        assistant: whether the assistant wrote it; only then is it part of the response text.
    """

    start: int
    end: int
    text_start: int | None
    assistant: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """An assistant message in the rendered text, in code points of it.

    Attributes:
        start: where what the assistant writes begins, after the template's header.
        closing: from where on it is nothing but the end of the turn.
        end: where the next message begins.
    """

    start: int
    closing: int
    end: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt with one completion, as the model reads it.

    Attributes:
        text: the whole rendered text.
        pieces: the completion's texts in order.
        response: the response text (what the assistant wrote).
        turns: the assistant's messages, where one has more than a content; None: each is one piece, and what stands
            after it ends its turn.
        wanted: code points of the response text that a template should hold somewhere: each reasoning, content, call.
    """

    text: str
    pieces: tuple[Piece, ...]
    response: str
    turns: tuple[Turn, ...] | None = None
    wanted: tuple[tuple[int, int], ...] = ()


def template_arguments(template_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for ``apply_chat_template``, as TRL passes them: ``tools`` always, None if there are none."""
    return {"tools": None, **template_kwargs}


def apply_template(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    arguments: Mapping[str, Any],
    *,
    generate: bool,
    seconds: float = SECONDS,
) -> str:
    """Render messages to text; ``strftime_now`` tells the template ``tokenizer.date``.

    Raises:
        RowRejected: ``template_error`` if the template refuses these messages.
        ConfigError: the template takes longer than ``seconds``, or too much memory.
    """
    if tokenizer.date is not None:
        fixed_clock(tokenizer.hf, arguments.get("chat_template"))
    try:
        with Rendering(tokenizer.date, seconds):
            return str(
                tokenizer.hf.apply_chat_template(
                    [dict(m) for m in messages], tokenize=False, add_generation_prompt=generate, **arguments
                )
            )
    except TemplateTimeoutError:
        raise ConfigError(
            f"the chat template of tokenizer {tokenizer.name!r} did not end within {seconds:g} seconds"
        ) from None
    except (TemplateMemoryError, MemoryError):
        raise ConfigError(
            f"the chat template of tokenizer {tokenizer.name!r} took more than {MEMORY:,} bytes of memory for one row"
        ) from None
    except Exception as error:  # a template is a program: it may raise anything
        raise RowRejected("template_error", f"the chat template failed: {error}") from error


def render_contents(
    tokenizer: Tokenizer,
    prompt: Sequence[Message],
    completion: Sequence[Message],
    arguments: Mapping[str, Any],
    text: str,
) -> Rendered:
    """The pieces of messages that have nothing but contents, in ``text``, the rendering of prompt and completion.

    Raises:
        RowRejected: ``template_error``, or ``template_alters_text`` where the rendering holds a content neither as
            it is nor trimmed.
    """
    contents = [m.get("content") or "" for m in completion]
    marks = sentinels(len(contents), text)
    stand_ins = [{**m, "content": s} if c else dict(m) for m, c, s in zip(completion, contents, marks, strict=True)]
    skeleton = apply_template(tokenizer, [*prompt, *stand_ins], arguments, generate=False)
    filled = [(m, c, s) for m, c, s in zip(completion, contents, marks, strict=True) if c]
    around = _split_at(skeleton, [sentinel for _, _, sentinel in filled])
    if around is None or not text.startswith(around[0]):
        raise RowRejected("template_alters_text", "the chat template does not hold the messages as they are")
    pieces, position, written = [], len(around[0]), 0
    for (message, content, _), after in zip(filled, around[1:], strict=True):
        trimmed = as_rendered(content, after, text, position)
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


def as_rendered(content: str, after: str, text: str, at: int) -> str | None:
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


def sentinels(count: int, text: str) -> list[str]:
    """Strings that no template changes and that the text does not hold."""
    mark = "q7Zk"
    while mark in text:
        mark += "Zk"
    return [f"{mark}{i}w" for i in range(count)]
