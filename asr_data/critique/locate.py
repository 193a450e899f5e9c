"""Where quotes stand in a response. A quote is found word for word, or it is not found: nothing is guessed.

Of several occurrences the quote's context decides, then the order: faults are named in the order of the response, so
that a quote stands between the neighbours that are sure. As many equal quotes as there are occurrences are all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from asr_data.critique.normal import NormalText

Span: TypeAlias = tuple[int, int]
"""Code points, ``[start, end)``."""
Failure: TypeAlias = Literal["not_found", "ambiguous"]

_MOST_OCCURRENCES: Final = 200
"""A quote that stands in more places, and in no context, says nothing."""
_MARKS: Final = ("\"'", "\"'", "``", "“”", "‘’", "«»", "„“")
"""What a model may put around a quote."""
_ESCAPES: Final = str.maketrans({"\b": "\\b", "\f": "\\f", "\t": "\\t", "\r": "\\r", "\n": "\\n"})
"""Characters that JSON makes of a formula whose backslashes were not doubled, such as ``\\frac`` and ``\\times``."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A quote to be found.

    Attributes:
        quote: as the critic gave it.
        context: a longer stretch with the quote in it, or an empty text.
    """

    quote: str
    context: str = ""


class Quotable:
    """A response in which quotes are looked for.

    Args:
        text: the response.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _normal(self) -> NormalText:
        return NormalText(self.text)

    def occurrences(self, quote: str) -> list[Span]:
        """Where a quote stands, in order: as it is, else with white space and Unicode forms reconciled.

        The backslashes that JSON takes from formulas are put back first; last, quotation marks around it are taken off.
        """
        for spelling in _spellings(quote):
            exact = _exact(self.text, spelling.strip())
            found = exact or self._normal.occurrences(NormalText(spelling).folded.strip())
            if found:
                return found
        return []


def locate(response: Quotable, claims: Sequence[Claim]) -> list[Span | Failure]:
    """The span of each claim's quote, or why it has none.

    Args:
        response: in which they are.
        claims: in the critic's order.
    """
    candidates = [_in_context(response, claim) for claim in claims]
    hopeless = {place for place, spans in enumerate(candidates) if len(spans) > _MOST_OCCURRENCES}
    candidates = [[] if place in hopeless else spans for place, spans in enumerate(candidates)]
    changed = True
    while changed:
        changed = _narrow_by_order(candidates) or _share_out(claims, candidates)
    return [
        spans[0] if len(spans) == 1 else "ambiguous" if spans or place in hopeless else "not_found"
        for place, spans in enumerate(candidates)
    ]


def _in_context(response: Quotable, claim: Claim) -> list[Span]:
    """A quote's occurrences, those in its context alone if there are any."""
    found = response.occurrences(claim.quote)
    if len(found) < 2 or not claim.context.strip():
        return found
    around = response.occurrences(claim.context)
    inside = [span for span in found if any(start <= span[0] and span[1] <= end for start, end in around)]
    return inside or found


def _narrow_by_order(candidates: list[list[Span]]) -> bool:
    """Leave out occurrences that do not stand between the sure neighbours; says whether one became sure."""
    sure = [place for place, spans in enumerate(candidates) if len(spans) == 1]
    if any(candidates[a][0] > candidates[b][0] for a, b in pairwise(sure)):
        return False  # they are not in the order of the response
    changed = False
    for place, spans in enumerate(candidates):
        if len(spans) < 2:
            continue
        before = [candidates[one][0] for one in sure if one < place]
        after = [candidates[one][0] for one in sure if one > place]
        left = [
            span for span in spans
            if (not before or span > before[-1]) and (not after or span < after[0])
        ]  # fmt: skip
        if len(left) == 1:
            candidates[place] = left
            return True
        if left and len(left) < len(spans):
            candidates[place] = left
            changed = True
    return changed


def _share_out(claims: Sequence[Claim], candidates: list[list[Span]]) -> bool:
    """Give as many equal quotes as there are occurrences one each, in order; says whether there were any."""
    for spans in candidates:
        if len(spans) < 2:
            continue
        equal = [place for place, others in enumerate(candidates) if others == spans]
        if len(equal) == len(spans) and len({claims[place].quote.strip() for place in equal}) == 1:
            for place, span in zip(equal, list(spans), strict=True):
                candidates[place] = [span]
            return True
    return False


def _exact(text: str, quote: str) -> list[Span]:
    found = []
    at = text.find(quote) if quote else -1
    while at >= 0:
        found.append((at, at + len(quote)))
        at = text.find(quote, at + 1)
    return found


def _spellings(quote: str) -> list[str]:
    """A quote, and what it may be meant for."""
    bare = quote.strip()
    spellings = [quote.translate(_ESCAPES), quote]  # what stands there with backslashes was meant to have them
    if len(bare) > 2 and any(bare[0] in pair and bare[-1] in pair for pair in _MARKS):
        spellings.append(bare[1:-1])
    return list(dict.fromkeys(spellings))
