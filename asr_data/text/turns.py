"""Assistant messages with more than a content in the rendered template: reasoning, tool calls, whatever else it prints.

Reasoning and contents are found by sentinels, as in :mod:`asr_data.text.template`. A call is not replaced: templates
read its parts. It is searched for in its own message, whose boundaries come from renderings of the conversation up to
there. What is not found where it should be has no tokens of its own; what stands there has then no bytes and no reward.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from asr_data.errors import RowRejected
from asr_data.response import REASONING_FIELDS, ResponsePart, reasoning_field, response_parts, tool_calls
from asr_data.text.template import Piece, Rendered, Turn, apply_template, as_rendered, sentinels
from asr_data.types import Message

if TYPE_CHECKING:
    from asr_data.text.tokenizer import Tokenizer

_KNOWN: Final = {"role", "content", "tool_calls"}
_SETTINGS: Final = {"type", "id", "index", "role"}
"""Keys inside a message whose values a template looks at, and does not print as text."""
_THINKING: Final = re.compile(r"(\s*(?:<think>)?\s*)(.*?)(\s*</think>\s*)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A text of a message that is replaced by a sentinel.

    Attributes:
        message: number of the message in the completion.
        value: the text.
        text_start: its place in the response text; None where it has none.
        assistant: whether the assistant wrote it.
        ends_turn: nothing but the end of the turn follows it in a message without calls.
    """

    message: int
    value: str
    text_start: int | None
    assistant: bool = True
    ends_turn: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """A piece with its message; ``ends_turn`` as in :class:`_Slot`."""

    piece: Piece
    message: int
    ends_turn: bool


def needs_turns(
    tokenizer: Tokenizer,
    prompt: Sequence[Message],
    completion: Sequence[Message],
    arguments: Mapping[str, Any],
    text: str,
) -> bool:
    """Whether the assistant wrote, or the template prints, something besides contents."""
    own = [message for message in completion if message.get("role") == "assistant"]
    if any(reasoning_field(message) or tool_calls(message) for message in own):
        return True
    if all(message.keys() <= _KNOWN for message in own):
        return False
    bare = [
        {key: m[key] for key in ("role", "content") if key in m} if m.get("role") == "assistant" else m
        for m in completion
    ]
    try:
        return apply_template(tokenizer, [*prompt, *bare], arguments, generate=False) != text
    except RowRejected:
        return True


def render_turns(
    tokenizer: Tokenizer,
    prompt: Sequence[Message],
    completion: Sequence[Message],
    arguments: Mapping[str, Any],
    text: str,
) -> Rendered:
    """Find all that the assistant wrote in ``text``, the rendering of prompt and completion.

    Raises:
        RowRejected: ``template_alters_text`` where the rendering holds something else than these texts.
    """
    conversation = _Conversation(tokenizer, prompt, completion, arguments, text)
    response, parts = response_parts(completion)
    found, wanted = _located(conversation, parts)
    turns: list[Turn] = []
    for number, message in enumerate(completion):
        if message.get("role") != "assistant":
            continue
        start, end = conversation.borders(number, turns[-1].end if turns else 0, found)
        own = [one for one in found if one.message == number]
        at = max((one.piece.end for one in own), default=start)
        calls = [part for part in parts if part.kind == "call" and part.message == number]
        for part, function in zip(calls, tool_calls(message), strict=True):
            pieces = [
                _Found(piece, number, ends_turn=False)
                for piece in _call_pieces(part, function, response, text, (at, end))
            ]
            own += pieces
            found += pieces
            at = max((one.piece.end for one in pieces), default=at)
        turns.append(_turn(conversation, number, own, start, end))
    everything = sorted((one.piece for one in found), key=lambda piece: piece.start)
    wanted += [(part.start, part.end) for part in parts if part.kind == "call"]
    return Rendered(text, tuple(_ascending(everything)), response, tuple(turns), tuple(sorted(wanted)))


class _Conversation:
    """A prompt and a completion, what a template makes of them, and of parts of them."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Sequence[Message],
        completion: Sequence[Message],
        arguments: Mapping[str, Any],
        text: str,
    ) -> None:
        self.tokenizer, self.prompt, self.completion = tokenizer, prompt, completion
        self.arguments, self.text = arguments, text

    def render(self, messages: Sequence[Message], *, generate: bool = False) -> str | None:
        """The prompt with other messages after it; None where the template refuses them."""
        try:
            return apply_template(self.tokenizer, [*self.prompt, *messages], self.arguments, generate=generate)
        except RowRejected:
            return None

    def borders(self, number: int, after: int, found: Sequence[_Found]) -> tuple[int, int]:
        """Where an assistant message begins, its header left out, and where the next message begins."""
        own = [one.piece for one in found if one.message == number]
        later = [one.piece.start for one in found if one.message > number]
        latest = min(later, default=len(self.text))
        opened = self.render(self.completion[:number], generate=True) or ""
        start = _shared(opened, self.text)
        if start < after or start > min([latest, *(piece.start for piece in own)]):
            start = min((piece.start for piece in own), default=after)
        if number == len(self.completion) - 1:
            return start, len(self.text)
        closed = self.render(self.completion[: number + 1])
        if closed is not None and self.text.startswith(closed) and start <= len(closed) <= latest:
            return start, len(closed)
        ends = self.tokenizer.special_texts.search(self.text, max((p.end for p in own), default=start), latest)
        return start, ends.end() if ends else latest

    def plain_end(self, number: int) -> str:
        """What stands after an answer of nothing but a content in this message's place."""
        (mark,) = sentinels(1, self.text)
        rendered = self.render([*self.completion[:number], {"role": "assistant", "content": mark}])
        return "" if rendered is None else rendered.partition(mark)[2]


def _turn(conversation: _Conversation, number: int, own: Sequence[_Found], start: int, end: int) -> Turn:
    text, specials = conversation.text, conversation.tokenizer.special_texts
    last = max(own, key=lambda one: one.piece.end, default=None)
    closing = start if last is None else last.piece.end
    if last is None or not last.ends_turn:
        plain = conversation.plain_end(number)
        if plain and text.endswith(plain, closing, end):
            closing = end - len(plain)
        else:
            closing = max((match.start() for match in specials.finditer(text, closing, end)), default=end)
    if number < len(conversation.completion) - 1 and (stop := specials.search(text, closing, end)):
        end = stop.end()
    return Turn(start, closing, end)


# --- reasoning, contents and other texts -----------------------------------------------------------------------------


def _located(conversation: _Conversation, parts: Sequence[ResponsePart]) -> tuple[list[_Found], list[tuple[int, int]]]:
    """The texts that are replaced by sentinels, and where in the response text all of them are.

    Texts of unknown keys are replaced, too, unless the template then does something else.
    """
    for others in (True, False):
        slots: list[_Slot] = []
        marks = sentinels(1_000, conversation.text)
        stand_ins = []
        for number, message in enumerate(conversation.completion):
            own = [part for part in parts if part.message == number]
            stand_in, new = _stand_in(message, number, own, marks[len(slots) :], others=others)
            stand_ins.append(stand_in)
            slots += new
        skeleton = conversation.render(stand_ins)
        found = None if skeleton is None else _matched(conversation.text, skeleton, slots, marks)
        if found is not None:
            starts = [(slot.text_start, slot.value) for slot in slots if slot.text_start is not None]
            return found, [(start, start + len(value)) for start, value in starts]
    raise RowRejected("template_alters_text", "the chat template does not hold the messages as they are")


def _stand_in(
    message: Message, number: int, parts: Sequence[ResponsePart], marks: Sequence[str], *, others: bool
) -> tuple[Message, list[_Slot]]:
    """A message with sentinels for its texts, and what they stand for."""
    slots: list[_Slot] = []

    def put(value: str, text_start: int | None, *, ends_turn: bool = False) -> str:
        if not value or len(slots) >= len(marks):
            return value
        slots.append(_Slot(number, value, text_start, message.get("role") == "assistant", ends_turn))
        return marks[len(slots) - 1]

    out = dict(message)
    if message.get("role") != "assistant":
        if isinstance(message.get("content"), str):
            out["content"] = put(message["content"], None)
        return out, slots
    starts = {part.kind: part.start for part in parts}
    if (field := reasoning_field(message)) is not None:
        mark = put(message[field], starts["reasoning"])
        out |= {name: mark for name in REASONING_FIELDS if message.get(name) == message[field]}
    if content := message.get("content"):
        first, thinking = starts["content"], _THINKING.fullmatch(content)
        if thinking is not None and content.count("</think>") == 1:
            before, thought, close, answer = thinking.groups()
            out["content"] = before + put(thought, first + len(before)) + close
            out["content"] += put(answer, first + len(content) - len(answer), ends_turn=True)
        else:
            out["content"] = put(content, first, ends_turn=True)
    if others:
        known = {*_KNOWN, *REASONING_FIELDS}
        out |= {key: _replaced(value, put) for key, value in message.items() if key not in known}
    return out, slots


def _replaced(value: Any, put: Any) -> Any:
    if isinstance(value, str):
        return put(value, None)
    if isinstance(value, Mapping):
        return {key: item if key in _SETTINGS else _replaced(item, put) for key, item in value.items()}
    return [_replaced(item, put) for item in value] if isinstance(value, list) else value


def _matched(text: str, skeleton: str, slots: Sequence[_Slot], marks: Sequence[str]) -> list[_Found] | None:
    """The slots in ``text``, in its order; a slot may be absent. None where the rest is not what the skeleton has."""
    number_of = {mark: number for number, mark in enumerate(marks[: len(slots)])}
    pattern = re.compile("|".join(map(re.escape, sorted(number_of, key=len, reverse=True))) or "(?!)")
    literals, order = [], []
    at = 0
    for match in pattern.finditer(skeleton):
        literals.append(skeleton[at : match.start()])
        order.append(slots[number_of[match.group()]])
        at = match.end()
    literals.append(skeleton[at:])
    if not text.startswith(literals[0]):
        return None
    found: list[_Found] = []
    position = len(literals[0])
    for slot, after in zip(order, literals[1:], strict=True):
        shown = as_rendered(slot.value, after, text, position)
        if shown is None:
            return None
        text_start = None if slot.text_start is None else slot.text_start + slot.value.find(shown)
        piece = Piece(position, position + len(shown), text_start, slot.assistant)
        found.append(_Found(piece, slot.message, slot.ends_turn))
        position += len(shown) + len(after)
    return found if position == len(text) else None


def _ascending(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The pieces with text that the template left in order; others keep their place and lose their bytes."""
    reached = 0
    for piece in pieces:
        if piece.text_start is None:
            yield piece
        elif piece.text_start < reached:
            yield replace(piece, text_start=None)
        else:
            reached = piece.text_start + piece.end - piece.start
            yield piece


def _shared(one: str, other: str) -> int:
    """Length of the common prefix of two texts, in characters."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(at for at in range(length) if one[at] != other[at])


# --- tool calls ------------------------------------------------------------------------------------------------------


def _call_pieces(
    part: ResponsePart, function: Mapping[str, Any], response: str, text: str, within: tuple[int, int]
) -> Iterator[Piece]:
    """A call in the rendered text: as the response text has it, or its name and its arguments by themselves."""
    at, end = within
    place = text.find(response[part.start : part.end], at, end)
    if place >= 0:
        yield Piece(place, place + part.end - part.start, part.start, assistant=True)
        return
    name = response[slice(*part.name)]
    named = text.find(name, at, end) if name else -1
    if named >= 0:
        yield Piece(named, named + len(name), part.name[0], assistant=True)
        at = named + len(name)
    yield from _argument_pieces(function.get("arguments"), part.arguments, response, text, (at, end))


def _argument_pieces(
    value: Any, within: tuple[int, int], response: str, text: str, here: tuple[int, int]
) -> Iterator[Piece]:
    """Arguments as they are, as JSON of a text, or their keys and values one by one."""
    arguments = response[slice(*within)]
    place = text.find(arguments, *here)
    if place >= 0:
        yield Piece(place, place + len(arguments), within[0], assistant=True)
        return
    escaped = json.dumps(arguments, ensure_ascii=False)[1:-1]
    place = text.find(escaped, *here) if isinstance(value, str) else -1
    if place >= 0:
        for raw, inside, length in _unescaped(arguments):
            yield Piece(place + inside, place + inside + length, within[0] + raw, assistant=True)
        return
    try:
        leaves = _leaves(json.loads(arguments))
    except (ValueError, RecursionError):
        return  # a text that is no JSON and not there as it is
    at, written = here[0], within[0]
    for leaf in leaves:
        shown = leaf if isinstance(leaf, str) else json.dumps(leaf)
        own = json.dumps(leaf, ensure_ascii=False)[1:-1] if isinstance(leaf, str) else shown
        place, known = text.find(shown, at, here[1]), response.find(own, written, within[1])
        if not shown or place < 0 or known < 0:
            continue
        for raw, ours, length in _unescaped(shown) if isinstance(leaf, str) else [(0, 0, len(shown))]:
            yield Piece(place + raw, place + raw + length, known + ours, assistant=True)
        at, written = place + len(shown), known + len(own)


def _leaves(value: Any) -> Iterator[Any]:
    """Keys and values in the order of the text."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _unescaped(text: str) -> Iterator[tuple[int, int, int]]:
    """Stretches that JSON leaves as they are: where in the text, where in its JSON, how long."""
    escaped, start = 0, 0
    for at, character in enumerate(text):
        width = len(json.dumps(character, ensure_ascii=False)) - 2
        if width > 1:
            if start < at:
                yield start, escaped, at - start
            escaped += at - start + width
            start = at + 1
    if start < len(text):
        yield start, escaped, len(text) - start
