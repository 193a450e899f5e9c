"""Labels over the bytes of a text: of steps that are joined, and of spans that are marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from asr_data.errors import RowRejected
from asr_data.response import byte_offsets
from asr_data.rows.labelled.format import LabelledText
from asr_data.rows.labelled.values import mismatch
from asr_data.types import Label

LabelledStep: TypeAlias = tuple[str, float | None, str]
"""A step's text, its reward (None: unknown) and the label as it stands in the data."""

LabelledSpan: TypeAlias = tuple[int, int, float | None, str]
"""First character, one past the last, reward (None: unknown) and the label as it stands in the data."""

CORRECT: Final = "correct"
"""Name of the label of what the data calls good without naming it."""

WRONG: Final = "wrong"
"""Name of the label of what the data calls bad without naming it."""


def join_steps(steps: Iterable[LabelledStep], separator: str) -> LabelledText:
    """The response and one label per step whose reward is known; separators have none.

    Raises:
        RowRejected: ``label_mismatch`` where a step is empty, so that its label has nothing to stand on, or where no
            label is known.
    """
    texts: list[str] = []
    spans: list[LabelledSpan] = []
    position = 0
    for number, (text, reward, name) in enumerate(steps, 1):
        if not text.strip():
            mismatch(f"step {number} is empty")
        texts.append(text)
        spans.append((position, position + len(text), reward, name))
        position += len(text) + len(separator)
    response = separator.join(texts)
    return response, byte_labels(response, spans)


def byte_labels(text: str, spans: Sequence[LabelledSpan]) -> tuple[Label, ...]:
    """Labels of spans that are counted in characters (code points), in order and without overlap.

    Raises:
        RowRejected: ``empty_response``, or ``label_mismatch`` where no span's reward is known.
    """
    if not text.strip():
        raise RowRejected("empty_response", "the response is empty or nothing but white space")
    byte = byte_offsets(text).tolist()
    labels = tuple(
        Label(byte[start], byte[end], reward, name) for start, end, reward, name in spans if reward is not None
    )
    if not labels:
        mismatch("the response has no label")
    return labels


def mark_spans(text: str, marks: Iterable[LabelledSpan]) -> tuple[Label, ...]:
    """Labels of a text in which all that is not right was marked: what no mark covers is correct, with reward 1.

    White space beside a mark and at the ends of the text is unknown: tokens take it along, and it would make a marked
    word a little better.
    Where marks overlap, the worst reward holds, under the names of all marks that gave it, joined by ``+``; an
    unknown reward gives way to any known one.

    Raises:
        RowRejected: ``label_mismatch`` where a mark is empty or reaches out of the text, or where all is unknown.
    """
    covering: list[set[tuple[float | None, str]]] = [set() for _ in text]
    for start, end, reward, name in marks:
        if not 0 <= start < end <= len(text):
            mismatch(f"[{start}, {end}) is not a span of a text of {len(text)} characters")
        for position in range(start, end):
            covering[position].add((reward, name))
    spans: list[LabelledSpan] = []
    position = 0
    for (reward, name), characters in groupby(map(_worst, covering)):
        piece = text[position : position + len(list(characters))]
        start, end = position, position + len(piece)
        position = end
        if not covering[start]:
            start, end = end - len(piece.lstrip()), start + len(piece.rstrip())
        if start < end:
            spans.append((start, end, reward, name))
    return byte_labels(text, spans)


def _worst(marks: set[tuple[float | None, str]]) -> tuple[float | None, str]:
    if not marks:
        return 1.0, CORRECT
    worst = min((reward for reward, _ in marks if reward is not None), default=None)
    return worst, "+".join(sorted(name for reward, name in marks if reward == worst))
