"""What several people say of the same response: one set of spans, and how far they agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from asr_data.critique.figures import CriticAgreement
from asr_data.critique.journal import Fault
from asr_data.critique.votes import error_spans
from asr_data.labelling.journal import Entry, Mark
from asr_data.response import contents_text
from asr_data.types import Bool


def gold_spans(entries: Sequence[Entry]) -> list[dict[str, object]]:
    """The error spans of one response: what more than half of the people mark. A tie is no fault.

    Args:
        entries: their judgements of it, each person's once.

    Returns:
        Objects with ``start``, ``end`` (code points of the contents) and ``type``, in order, without overlap.
    """
    text = contents_text(entries[0].completion)
    spans = error_spans(text, [[_fault(mark) for mark in entry.marks] for entry in entries])
    return [{"start": span.start, "end": span.end, "type": span.kind} for span in spans]


def agreements(entries: Iterable[Entry]) -> list[tuple[CriticAgreement, int]]:
    """For every two people, agreement on the characters of responses that both judged, and how many these are.

    Args:
        entries: judgements that count, each person's once a response.
    """
    judged: defaultdict[tuple[int, int, str], dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        judged[entry.key[1:]][entry.annotator] = entry
    found: dict[tuple[str, str], CriticAgreement] = {}
    responses: defaultdict[tuple[str, str], int] = defaultdict(int)
    for people in judged.values():
        for pair in combinations(sorted(people), 2):
            one, other = (people[name] for name in pair)
            if one.completion != other.completion:
                continue
            shown = np.array([not letter.isspace() for letter in contents_text(one.completion)], dtype=np.bool_)
            a, b = (_covered(entry, shown.size)[shown] for entry in (one, other))
            agreement = found.setdefault(pair, CriticAgreement(pair))
            agreement.both += int((a & b).sum())
            agreement.first += int((a & ~b).sum())
            agreement.second += int((~a & b).sum())
            agreement.neither += int((~a & ~b).sum())
            responses[pair] += 1
    return [(agreement, responses[pair]) for pair, agreement in sorted(found.items())]


def _fault(mark: Mark) -> Fault:
    return Fault(start=mark.start, end=mark.end, kind=mark.type, severity=mark.severity)


def _covered(entry: Entry, size: int) -> Bool:
    covered: Bool = np.zeros(size, dtype=np.bool_)
    for mark in entry.marks:
        covered[mark.start : mark.end] = True
    return covered
