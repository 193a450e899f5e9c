"""What starts at a place in a text: a word, a clause, a sentence, a line, or nothing.

The one rule for sentences in this package: segments, branches, steps and labels that come one per sentence all use it.
"""

from __future__ import annotations

import unicodedata
from enum import IntEnum
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asr_data.compiled import compiled
from asr_data.types import Bool, Int32


class BoundaryKind(IntEnum):
    """What starts at a token, from the weakest place for a cut to the strongest."""

    INSIDE_WORD = 0
    WORD = 1
    CLAUSE = 2
    SENTENCE = 3
    LINE = 4


def boundary_kinds(text: str, text_start: Int32) -> NDArray[np.int8]:
    """Return what starts at each token, int8 ``[n]`` of ``BoundaryKind``.

    White space at a token's beginning belongs to what follows it: ``" The"`` after ``"end."`` starts a
    sentence, and so does ``"The"`` after ``". "``. The first token starts a line. A token of nothing but
    white space or without text starts nothing, and neither does a second token of one character.

    A stop or a comma ends something only before white space, with closing quotes and brackets between them
    allowed, so that ``3.14`` and ``10:30`` stay whole; the wide ones of Chinese and Japanese need none. A
    full stop after a single letter (``e.g.``, ``J. Smith``) or after a number that begins its line (``1.
    Boil``) is not the end of a sentence. In scripts without spaces every ideograph or kana starts a word.

    Args:
        text: the response text.
        text_start: int32 ``[n]``, ascending; the code-point offset at which each token's text starts.
    """
    encoded = text.encode("utf-32-le", "surrogatepass")  # an unpaired surrogate is a character like another
    classes = character_classes()[np.frombuffer(encoded, dtype="<u4")]
    kinds = np.zeros(text_start.size, dtype=np.int8)
    _fill_kinds(classes, text_start, kinds)
    return kinds


def step_starts(text: str, text_start: Int32) -> Bool:
    """Return bool ``[n]``: where a step of the ``step`` baseline starts, that is a sentence or a line."""
    return boundary_kinds(text, text_start) >= BoundaryKind.SENTENCE


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the sentences as code points ``[start, end)``, each with the white space after it.

    Together they are the whole text; a text of nothing but white space has none. A line's end always ends a sentence.
    """
    return _cut(text, BoundaryKind.SENTENCE)


def line_spans(text: str) -> list[tuple[int, int]]:
    """Return the lines that hold text, as :func:`sentence_spans` returns the sentences."""
    return _cut(text, BoundaryKind.LINE)


def _cut(text: str, weakest: BoundaryKind) -> list[tuple[int, int]]:
    if not text.strip():
        return []
    kinds = boundary_kinds(text, np.arange(len(text), dtype=np.int32))
    kinds[: len(text) - len(text.lstrip())] = BoundaryKind.INSIDE_WORD  # white space before the first one is its own
    starts = [int(start) for start in np.flatnonzero(kinds >= weakest)]
    return list(pairwise([0, *starts[1:], len(text)]))


# Character classes, as plain integers for the compiled code.
OTHER, SPACE, NEWLINE, LETTER, DIGIT, IDEOGRAPH = 0, 1, 2, 3, 4, 5
PERIOD, STOP, WIDE_STOP, COMMA, WIDE_COMMA, OPEN, CLOSE = 6, 7, 8, 9, 10, 11, 12

_MARKS = {
    PERIOD: ".",
    STOP: "!?…؟۔।॥‽⁇⁈⁉",
    WIDE_STOP: "。！？．｡",
    COMMA: ",;:،؛",
    WIDE_COMMA: "，；：、､",
    NEWLINE: "\n\r\v\f\x85\u2028\u2029",
    CLOSE: "\"'*_`»",  # straight quotes and Markdown's emphasis close when they follow a stop
}


@cache
def character_classes() -> NDArray[np.uint8]:
    """Return uint8 ``[0x110000]``, the class of every code point."""
    table = np.zeros(0x110000, dtype=np.uint8)
    for code in range(0x20000):
        table[code] = _class_by_property(chr(code))
    table[0x20000:0x40000] = IDEOGRAPH  # the two planes of ideographs; planes beyond hold no text
    for kind, characters in _MARKS.items():
        for character in characters:
            table[ord(character)] = kind
    return table


def _class_by_property(character: str) -> int:
    if character.isspace():
        return SPACE
    category = unicodedata.category(character)
    if category in ("Lo", "Nl") and 0x2E80 <= ord(character) < 0xFB00 and not _is_hangul(character):
        return IDEOGRAPH
    if category[0] in "LM":  # a combining mark belongs to its letter
        return LETTER
    if category[0] == "N":
        return DIGIT
    if category in ("Ps", "Pi"):
        return OPEN
    if category in ("Pe", "Pf"):
        return CLOSE
    return OTHER


def _is_hangul(character: str) -> bool:
    """Korean is written with spaces."""
    return "\uac00" <= character <= "\ud7ff" or "\u3130" <= character <= "\u318f"


@compiled(nogil=True)
def _fill_kinds(classes: NDArray[np.uint8], text_start: Int32, kinds: NDArray[np.int8]) -> None:
    size, tokens = classes.size, text_start.size
    for token in range(tokens):
        start = text_start[token]
        end = text_start[token + 1] if token + 1 < tokens else size
        if token > 0 and text_start[token - 1] == start:
            continue  # another part of the same character
        # The first token of a character that several share ends where the next one's text starts.
        following = token + 1
        while end == start and following < tokens:
            following += 1
            end = text_start[following] if following < tokens else size
        if token == 0:
            kinds[token] = 4
            continue
        while start < end and (classes[start] == SPACE or classes[start] == NEWLINE):
            start += 1
        if start < end:
            kinds[token] = _kind_at(classes, start)


@compiled(nogil=True)
def _kind_at(classes: NDArray[np.uint8], start: int) -> int:
    """Return what starts at the character ``start``, which is not white space, from what stands before it."""
    before = start - 1
    while before >= 0 and (classes[before] == SPACE or classes[before] == NEWLINE):
        if classes[before] == NEWLINE:
            return 4
        before -= 1
    if before < 0:
        return 4
    spaced = before < start - 1
    own, neighbour = classes[start], classes[before]
    if not spaced and (PERIOD <= own <= WIDE_COMMA or own == CLOSE):
        return 0  # a mark stays with what it marks
    while before >= 0 and classes[before] == CLOSE:
        before -= 1
    mark = classes[before] if before >= 0 else OTHER
    if mark == WIDE_STOP or (spaced and (mark == STOP or (mark == PERIOD and _ends_sentence(classes, before)))):
        return 3
    if mark == WIDE_COMMA or (spaced and mark == COMMA):
        return 2
    if spaced or own in (OPEN, IDEOGRAPH) or neighbour in (OPEN, IDEOGRAPH):
        return 1
    return 0


@compiled(nogil=True)
def _ends_sentence(classes: NDArray[np.uint8], period: int) -> bool:
    """False after a single letter, and after a number that begins its line."""
    first = period
    while first > 0 and classes[first - 1] == DIGIT:
        first -= 1
    if first < period:
        while first > 0 and classes[first - 1] == SPACE:
            first -= 1
        return first > 0 and classes[first - 1] != NEWLINE
    while first > 0 and classes[first - 1] == LETTER:
        first -= 1
    return period - first != 1
