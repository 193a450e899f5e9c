"""Which words of a response the other answer has, too: a diff that recognises moves and ignores case.

A **word** is a run of letters and digits, with apostrophes between letters and points or commas between digits inside
it (``don't``, ``3.14``); every other character that is not white space is a word of its own. In scripts that are
written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) each character is one. Combining marks belong to
the character before them. In code, which is what stands between fences (```` ``` ````), words are tokens: names,
numbers, operators and single other characters. The unit ``character`` makes every character a word, the unit ``code``
treats all of the text as code.

Two words are equal when their characters are, in Unicode's composed form (NFC) and, outside code, whatever their case.
A word is **shared** when

1. it is of the longest common subsequence of the two answers' words, or
2. it is of a moved block: ``BLOCK`` words in a row that the other answer has in a row as well, at a place where not all
   of them are of that subsequence. A block said twice, where the other answer says it once, is thus not shared twice.

White space before a word goes with it. Indentation is not compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_data.boundaries import DIGIT, IDEOGRAPH, LETTER, NEWLINE, SPACE, character_classes
from asr_data.compiled import compiled
from asr_data.text.common_subsequence import common_subsequence
from asr_data.types import Bool, Int64, WordUnit

BLOCK: Final = 3
"""Words that make a block. Two in a row are found elsewhere by chance: ``of the``, or a word with its full stop."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedWords:
    """The W words of a text and which of them the other one has.

    Attributes:
        end: int64 ``[W]``, one past each word, in code points; a word begins, with the white space before it, where
            the one before ends. White space after the last word goes with it, so that the last end is the text's.
        shared: bool ``[W]``.
    """

    end: Int64
    shared: Bool


def shared_words(first: str, second: str, unit: WordUnit = "auto") -> tuple[SharedWords, SharedWords]:
    """Compare two texts; see the module. A text of nothing but white space has no words."""
    texts = (first, second)
    spans = [_spans(text, unit) for text in texts]
    numbers: dict[str, int] = {}
    keys = [
        np.array([numbers.setdefault(key, len(numbers)) for key in _keys(text, *found)], dtype=np.int64)
        for text, found in zip(texts, spans, strict=True)
    ]
    in_first, in_second = common_subsequence(keys[0], keys[1])
    blocks = _blocks(keys[0], keys[1], len(numbers))
    shared = (
        in_first | _moved(blocks[0], in_first, blocks[1], in_second),
        in_second | _moved(blocks[1], in_second, blocks[0], in_first),
    )
    return (
        SharedWords(_ends(first, spans[0][1]), shared[0]),
        SharedWords(_ends(second, spans[1][1]), shared[1]),
    )


def _ends(text: str, end: Int64) -> Int64:
    if end.size:
        end[-1] = len(text)
    return end


def _blocks(first: Int64, second: Int64, words: int) -> tuple[Int64, Int64]:
    """A number for each ``BLOCK`` words in a row, equal for equal ones, int64 ``[W - BLOCK + 1]`` of each sequence."""
    found = first, second
    for width in range(1, BLOCK):
        pairs = [
            sequence[: max(0, own.size - width)] * words + own[width:]
            for sequence, own in zip(found, (first, second), strict=True)
        ]
        numbers = np.unique(np.concatenate(pairs), return_inverse=True)[1].astype(np.int64)
        found = numbers[: pairs[0].size], numbers[pairs[0].size :]
    return found


def _moved(blocks: Int64, common: Bool, other_blocks: Int64, other_common: Bool) -> Bool:
    """Bool ``[W]``: words of blocks that the other answer has where not all words are of the common subsequence."""
    moved = np.zeros(common.size, dtype=np.bool_)
    if not blocks.size or not other_blocks.size:
        return moved
    free = ~np.lib.stride_tricks.sliding_window_view(other_common, BLOCK).all(axis=1)
    place = np.flatnonzero(np.isin(blocks, other_blocks[free]))
    for offset in range(BLOCK):
        moved[place + offset] = True
    return moved


def _keys(text: str, start: Int64, end: Int64, code: Bool) -> Iterator[str]:
    """What words are compared by."""
    for begin, stop, is_code in zip(start.tolist(), end.tolist(), code.tolist(), strict=True):
        word = text[begin:stop]
        if not word.isascii():
            word = unicodedata.normalize("NFC", word)
        yield word if is_code else word.casefold()


def _spans(text: str, unit: WordUnit) -> tuple[Int64, Int64, Bool]:
    """Where words start and end, white space left out, int64 ``[W]`` each, and which are code, bool ``[W]``."""
    code = [(0, len(text))] if unit == "code" else _fenced(text) if unit == "auto" else []
    parts: list[tuple[Int64, Int64]] = []
    is_code: list[Bool] = []
    position = 0
    for begin, stop in [*code, (len(text), len(text))]:
        for found, in_code in (
            (_words(text[position:begin], by_character=unit == "character"), False),
            (_tokens(text[begin:stop]), True),
        ):
            offset = begin if in_code else position
            parts.append((found[0] + offset, found[1] + offset))
            is_code.append(np.full(found[0].size, in_code))
        position = stop
    start, end = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
    return start, end, np.concatenate(is_code)


_FENCE: Final = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n(.*?)(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)


def _fenced(text: str) -> list[tuple[int, int]]:
    """Code points of what stands between fences. A fence that is not closed reaches to the end, as in Markdown."""
    return [match.span(2) for match in _FENCE.finditer(text)] if "```" in text or "~~~" in text else []


_TOKEN: Final = re.compile(
    r"\d\w*(?:\.\w+)*|\w+|===|!==|\.\.\.|->|=>|&&|\|\||\+\+|--|::|<<=?|>>=?|\*\*=?|//=?|[-+*/%&|^=<>!:@]=|\S"
)
"""A token of code, in any of the usual languages: a number, a name, an operator, or any other character."""


def _tokens(text: str) -> tuple[Int64, Int64]:
    found = np.array([match.span() for match in _TOKEN.finditer(text)], dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _words(text: str, *, by_character: bool) -> tuple[Int64, Int64]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    classes = _word_classes()[codes]
    if by_character:
        classes = np.where((classes == _WORD) | (classes == _NUMBER), _ALONE, classes)
    begins = np.zeros(codes.size, dtype=np.bool_)
    _fill_begins(codes, classes, begins)
    start = np.flatnonzero(begins)
    held = np.flatnonzero(classes != _SPACE)  # the last of these before the next start ends the word
    end = held[np.searchsorted(held, np.append(start[1:], codes.size)) - 1] + 1 if start.size else start
    return start, end


# Classes of characters, as plain integers for the compiled code.
_OTHER, _SPACE, _WORD, _NUMBER, _ALONE, _MARK = 0, 1, 2, 3, 4, 5
_APOSTROPHES: Final = (ord("'"), ord("’"))
_POINTS: Final = (ord("."), ord(","))
_JOINER: Final = 0x200D  # makes one emoji of several

_UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x3007),  # repetition of an ideograph
    (0x3040, 0x30FF),  # long vowels between kana
    (0xA9E0, 0xA9FF),  # Burmese
    (0xAA60, 0xAA7F),
    (0xFF66, 0xFF9F),  # narrow kana
)
"""Blocks of scripts without spaces, beside ideographs and kana."""
_MARKS_BEYOND: Final = ((0x1F3FB, 0x1F3FF), (0xE0000, 0xE0FFF))
"""Skin tones of emoji; tags and variation selectors."""


@cache
def _word_classes() -> NDArray[np.uint8]:
    """Uint8 ``[0x110000]``, the class of every code point."""
    from_boundaries = {SPACE: _SPACE, NEWLINE: _SPACE, LETTER: _WORD, DIGIT: _NUMBER, IDEOGRAPH: _ALONE}
    table = np.zeros(0x110000, dtype=np.uint8)
    for theirs, own in from_boundaries.items():
        table[character_classes() == theirs] = own
    for first, last in _UNSPACED:
        part = table[first : last + 1]
        part[part == _WORD] = _ALONE
    marks = [code for code in range(0x20000) if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me", "Cf")]
    table[marks] = _MARK
    for first, last in _MARKS_BEYOND:
        table[first : last + 1] = _MARK
    return table


@compiled(nogil=True)
def _fill_begins(codes: NDArray[np.uint32], classes: NDArray[np.uint8], begins: Bool) -> None:
    """Mark the characters at which a word begins."""
    base = _SPACE  # class of the last character that is no mark
    for place in range(codes.size):
        own = classes[place]
        if own == _SPACE:
            base = _SPACE
            continue
        first = place == 0 or classes[place - 1] == _SPACE
        if own == _MARK:
            begins[place] = first
            base = _OTHER if first else base
            continue
        if not first and codes[place - 1] == _JOINER:
            base = own
            continue
        before, after = base, classes[place + 1] if place + 1 < codes.size else np.uint8(_SPACE)
        if own in (_WORD, _NUMBER):
            inside = before in (_WORD, _NUMBER)
        elif codes[place] in _APOSTROPHES:
            inside = before == _WORD and after == _WORD
        elif codes[place] in _POINTS:
            inside = before == _NUMBER and after == _NUMBER
        else:
            inside = False
        begins[place] = not inside
        # An apostrophe or a point inside a word hands its class on.
        base = before if inside and own == _OTHER else own
