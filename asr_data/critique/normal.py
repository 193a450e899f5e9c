"""A text in one spelling, with the way back: white space, Unicode forms, quotation marks and dashes reconciled.

Models copy a text almost as it stands: they straighten quotation marks, put a space in place of a line break, or
compose what the text has decomposed. Two spellings of one text have the same folded form, and every character of the
folded form knows which code points of the original it comes from.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

_FOLDED: Final = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′´ʼ＇", "'"),
        **dict.fromkeys("“”„‟″«»＂", '"'),
        **dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"),
        # Not to be seen: zero-width characters, soft hyphens, marks of direction, variation selectors.
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u061c", ""),
        **dict.fromkeys((chr(code) for code in range(0xFE00, 0xFE10)), ""),
    }
)


class NormalText:
    """A text in its folded form.

    Args:
        text: any text.

    Attributes:
        folded: NFKC, with plain quotation marks and hyphens, runs of white space as one space, and without characters
            that cannot be seen.
    """

    def __init__(self, text: str) -> None:
        folded: list[str] = []
        self._start: list[int] = []
        self._end: list[int] = []
        for start, end in clusters(text):
            for character in fold(text[start:end]):
                if character == " " and folded and folded[-1] == " ":
                    self._end[-1] = end
                    continue
                folded.append(character)
                self._start.append(start)
                self._end.append(end)
        self.folded = "".join(folded)

    def occurrences(self, quote: str) -> list[tuple[int, int]]:
        """Where a folded quote stands, as spans of the original's code points; parts of what one cluster became do not.

        Args:
            quote: in the folded form, without white space at its ends.
        """
        found = []
        at = self.folded.find(quote) if quote else -1
        while at >= 0:
            last = at + len(quote) - 1
            begins = at == 0 or self._end[at - 1] <= self._start[at]
            ends = last + 1 == len(self.folded) or self._end[last] <= self._start[last + 1]
            if begins and ends:
                found.append((self._start[at], self._end[last]))
            at = self.folded.find(quote, at + 1)
        return found


def fold(text: str) -> str:
    """The folded form of one cluster, or of a text but for its runs of white space."""
    plain = unicodedata.normalize("NFKC", text.translate(_FOLDED)).translate(_FOLDED)
    return "".join(" " if character.isspace() else character for character in plain)


def clusters(text: str) -> Iterator[tuple[int, int]]:
    """Spans of code points that normalisation may join, in order; together they are the text."""
    start = 0
    for position in range(1, len(text) + 1):
        if position == len(text) or not _joins(text[start:position], text[position]):
            yield start, position
            start = position


def _joins(before: str, character: str) -> bool:
    """Whether normalisation may change a character together with those before it."""
    if character.isascii():
        return False
    if unicodedata.combining(character):
        return True
    last = before[-2:]  # what composes without being a combining mark, such as Korean, composes with its neighbours
    both = unicodedata.normalize("NFKC", last + character)
    return both != unicodedata.normalize("NFKC", last) + unicodedata.normalize("NFKC", character)
