"""A response cut into units that a person can mark: words, punctuation, single signs of scripts without spaces.

A browser counts text in its own way, and control characters are shown as ``<U+202E>``; so the page names units by their
number, and only the server knows their characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asr_data.response import response_parts
from asr_data.types import Text
from asr_data.view.escape import visible

_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Scripts that are written without spaces."""
_UNIT = re.compile(rf"\s+|[^\W{_ALONE}]+(?:['’][^\W{_ALONE}]+)*|\S")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit.

    Attributes:
        text: its characters.
        start, end: its code points in the response's contents; equal where it is none of these (reasoning, calls).
    """

    text: str
    start: int
    end: int

    @property
    def can_be_marked(self) -> bool:
        """Whether it is part of the contents, and not white space."""
        return self.start < self.end and not self.text.isspace()


def units_of(content: Text) -> list[Unit]:
    """The units of a response, in order; their texts are the response text."""
    text, parts = response_parts(content)
    found: list[Unit] = []
    reached = contents = 0
    for part in parts:
        if part.kind != "content":
            continue
        if part.start > reached:
            found.append(Unit(text[reached : part.start], contents, contents))
        for match in _UNIT.finditer(text, part.start, part.end):
            start = contents + match.start() - part.start
            found.append(Unit(match.group(), start, start + len(match.group())))
        contents += part.end - part.start
        reached = part.end
    if reached < len(text):
        found.append(Unit(text[reached:], contents, contents))
    return found


def as_json(units: Sequence[Unit]) -> list[list[Any]]:
    """Units as the page takes them: text, and 1 where it can be marked."""
    return [[visible(unit.text), int(unit.can_be_marked)] for unit in units]


def span_of(units: Sequence[Unit], first: int, last: int) -> tuple[int, int] | None:
    """Code points of the contents that units ``first`` to ``last`` hold; None where they hold none."""
    inside = [unit for unit in units[first : last + 1] if unit.can_be_marked]
    return (inside[0].start, inside[-1].end) if inside else None


def units_in(units: Sequence[Unit], start: int, end: int) -> tuple[int, int] | None:
    """The first and the last unit that a span of the contents touches; None where it touches none."""
    inside = [place for place, unit in enumerate(units) if unit.can_be_marked and unit.start < end and start < unit.end]
    return (inside[0], inside[-1]) if inside else None
