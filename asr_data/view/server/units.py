"""A response cut into units that a person can mark: words, punctuation, single signs of scripts without spaces.

A browser counts text in its own way, and control characters are shown as ``<U+202E>``; so the page names units by their
number, and only the server knows their characters.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from asr_data.boundaries import line_spans, sentence_spans
from asr_data.response import response_parts
from asr_data.types import Text
from asr_data.view.escape import visible

_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Scripts that are written without spaces."""
_MARKS = "".join(chr(code) for code in range(0x20000) if unicodedata.category(chr(code))[0] == "M")
_JOINED = _MARKS + "\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\U000e0100-\U000e01ef"
"""What is part of the sign before it: accents, vowel signs, skin tones."""
_WORD = rf"(?:[^\W{_ALONE}][{_JOINED}]*)+"
_SIGN = rf"(?:[\U0001f1e6-\U0001f1ff]{{2}}|\S)[{_JOINED}]*"
_UNIT = re.compile(rf"\s+|{_WORD}(?:['’]{_WORD})*|{_SIGN}(?:\u200d{_SIGN})*")
"""White space; a word; or a sign as it is seen, such as an emoji of several characters."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit.

    Attributes:
        text: its characters.
        start, end: its code points in the response's contents; equal where it is none of these (reasoning, calls).
        sentence, line: numbers of the sentence and the line that it is part of, from 0; -1 where it is none of these.
    """

    text: str
    start: int
    end: int
    sentence: int = -1
    line: int = -1

    @property
    def can_be_marked(self) -> bool:
        """Whether it is part of the contents, and not white space."""
        return self.start < self.end and not self.text.isspace()


def units_of(content: Text) -> list[Unit]:
    """The units of a response, in order; their texts are the response text."""
    text, parts = response_parts(content)
    found: list[Unit] = []
    reached = contents = sentences = lines = 0
    for part in parts:
        if part.kind != "content":
            continue
        if part.start > reached:
            found.append(Unit(text[reached : part.start], contents, contents))
        own = text[part.start : part.end]
        sentence_of, line_of = _numbers(sentence_spans(own)), _numbers(line_spans(own))
        for match in _UNIT.finditer(own):
            start = contents + match.start()
            numbers = sentences + sentence_of(match.start()), lines + line_of(match.start())
            found.append(Unit(match.group(), start, start + len(match.group()), *numbers))
        sentences, lines = sentences + sentence_of(len(own)) + 1, lines + line_of(len(own)) + 1
        contents += len(own)
        reached = part.end
    if reached < len(text):
        found.append(Unit(text[reached:], contents, contents))
    return found


def _numbers(spans: Sequence[tuple[int, int]]) -> Callable[[int], int]:
    """Character → number of the span that it is in, of spans that are the whole text; 0 where there is none."""
    starts = [start for start, _ in spans[1:]]
    return lambda place: bisect_right(starts, place)


def as_json(units: Sequence[Unit]) -> list[list[Any]]:
    """Units as the page takes them: text, 1 where it can be marked, and numbers of sentence and line."""
    return [[visible(unit.text), int(unit.can_be_marked), unit.sentence, unit.line] for unit in units]


def span_of(units: Sequence[Unit], first: int, last: int) -> tuple[int, int] | None:
    """Code points of the contents that units ``first`` to ``last`` hold; None where they hold none."""
    inside = [unit for unit in units[first : last + 1] if unit.can_be_marked]
    return (inside[0].start, inside[-1].end) if inside else None


def units_in(units: Sequence[Unit], start: int, end: int) -> tuple[int, int] | None:
    """The first and the last unit that a span of the contents touches; None where it touches none."""
    inside = [place for place, unit in enumerate(units) if unit.can_be_marked and unit.start < end and start < unit.end]
    return (inside[0], inside[-1]) if inside else None
