"""From the critiques of a response to its error spans: critics vote on every character."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr_data.critique.journal import Fault
from asr_data.critique.reply import SEVERITIES, Severity


@dataclass(frozen=True, slots=True)
class ErrorSpan:
    """Characters that more than half of the critiques mark, with one kind.

    Attributes:
        start, end: code points of the response, ``[start, end)``.
        kind: the one that most critiques give.
        severity: the worst of those critiques that mark it; None where they give none.
        reason: theirs, each once, joined by `` | ``.
        votes: critiques that mark every character of it.
        critics: critiques that voted.
    """

    start: int
    end: int
    kind: str
    severity: Severity | None
    reason: str
    votes: int
    critics: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """Characters between two edges, and the worst fault of each critique that marks them."""

    start: int
    end: int
    faults: tuple[Fault, ...]


def error_spans(text: str, critiques: Sequence[Sequence[Fault]]) -> list[ErrorSpan]:
    """The spans that more than half of the critiques mark, in order, without overlap.

    A tie is no fault: of two critiques both must mark a character, of one it is enough. Where one critique marks a
    character twice, its worst fault counts, the first of equals. Of several kinds the one with most votes holds, of
    equals the one with the worst severity, then the first by the alphabet. Neighbouring characters of one kind are
    one span; white space at its ends is left out.

    Args:
        text: the response.
        critiques: the faults that each gives; one without any is a vote for no fault.
    """
    spans: list[ErrorSpan] = []
    run: list[_Piece] = []
    kind = ""
    for piece in _pieces(critiques):
        here = _kind(piece.faults)
        if run and (run[-1].end != piece.start or here != kind):
            spans += _span(text, run, kind, len(critiques))
            run = []
        run.append(piece)
        kind = here
    return spans + (_span(text, run, kind, len(critiques)) if run else [])


def _pieces(critiques: Sequence[Sequence[Fault]]) -> list[_Piece]:
    """The pieces that more than half of the critiques mark."""
    edges = sorted({edge for faults in critiques for fault in faults for edge in (fault.start, fault.end)})
    found = []
    for start, end in pairwise(edges):
        marking = [[one for one in faults if one.start <= start and end <= one.end] for faults in critiques]
        worst = tuple(max(faults, key=lambda one: _rank(one.severity)) for faults in marking if faults)
        if 2 * len(worst) > len(critiques):
            found.append(_Piece(start, end, worst))
    return found


def _kind(faults: Sequence[Fault]) -> str:
    votes = Counter(fault.kind for fault in faults)
    worst = {kind: max(_rank(fault.severity) for fault in faults if fault.kind == kind) for kind in votes}
    return min(votes, key=lambda kind: (-votes[kind], -worst[kind], kind))


def _span(text: str, run: Sequence[_Piece], kind: str, critics: int) -> list[ErrorSpan]:
    start, end = run[0].start, run[-1].end
    words = text[start:end]
    start, end = start + len(words) - len(words.lstrip()), end - len(words) + len(words.rstrip())
    if start >= end:
        return []
    faults = list(dict.fromkeys(fault for piece in run for fault in piece.faults))
    worst = max(faults, key=lambda fault: _rank(fault.severity)).severity
    reason = " | ".join(dict.fromkeys(fault.reason for fault in faults if fault.reason))
    return [ErrorSpan(start, end, kind, worst, reason, min(len(piece.faults) for piece in run), critics)]


def _rank(severity: Severity | None) -> int:
    """The worse, the higher; a severity that is not given is the mildest."""
    return -1 if severity is None else SEVERITIES.index(severity)
