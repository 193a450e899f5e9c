"""Label columns: one value per line or sentence of a response, or spans of its characters, as ``Label``s.

What a column's type says about its unit is decided once, for the whole data set:

* ``scores``: a list of numbers or booleans, one per line or per sentence, whichever there are as many of. A null is
  unknown.
* ``spans``: a list of objects with ``start``, ``end`` and a ``reward``, ``score`` or ``label``. What no span covers is
  unknown.
* ``errors``: a list of objects with ``start`` and ``end`` and none of these keys: reward 0 inside, 1 elsewhere, and
  unknown for white space between the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa

from asr_data.errors import InputError, RowRejected
from asr_data.response import contents_text
from asr_data.rows.choices import finite_number
from asr_data.rows.columns import is_number, item_type
from asr_data.types import Label, Text

LabelUnit: TypeAlias = Literal["scores", "spans", "errors"]
Span: TypeAlias = tuple[int, int]
Piece: TypeAlias = tuple[int, int, Any, str]
"""First character, one past the last, reward (null: unknown) and name."""

_REWARD_KEYS: Final = ("reward", "score", "label")
_LINE_END: Final = re.compile(r"\n+")
_SENTENCE_END: Final = re.compile(
    r"""
    [.!?…]+ ["'”’»)\]]* (?=\s)     # Latin marks, closing quotes and brackets, then white space
    | [。！？]+ [”’」』）]*           # wide marks need no space after them
    | \n+                          # a line always ends a sentence
    """,
    re.VERBOSE,
)


def label_unit(kind: pa.DataType, column: str) -> LabelUnit:
    """What the values of a label column stand for, by its type.

    Raises:
        InputError: the column holds no labels.
    """
    item = item_type(kind)
    if item is not None and (is_number(item) or pa.types.is_boolean(item)):
        return "scores"
    if item is not None and pa.types.is_struct(item):
        keys = {field.name for field in item.fields}
        if {"start", "end"} <= keys:
            return "spans" if keys.intersection(_REWARD_KEYS) else "errors"
    raise InputError(
        f"column {column!r} is {kind}; labels are a list of numbers or booleans, or of objects with start and end "
        f"in characters and, optionally, one of {', '.join(_REWARD_KEYS)}"
    )


def parse_labels(value: Any, unit: LabelUnit, content: Text, column: str) -> tuple[Label, ...]:
    """A response's labels in order, over the bytes of its contents; reasoning and tool calls have no labels.

    Args:
        value: the column's value; null where nothing is known of this response.
        unit: what ``label_unit`` says of the column.
        content: the response, whose text is valid Unicode.
        column: where the labels come from, for messages.

    Raises:
        RowRejected: ``wrong_type`` where they are not a list of labels, ``label_mismatch`` where they do not fit the
            text.
    """
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RowRejected("wrong_type", f"column {column!r} is {type(value).__name__}, not a list of labels")
    text = contents_text(content)
    if unit == "scores":
        pieces = _scored_units(value, text, column)
    else:
        spans = _spans(value, text, column)
        pieces = _scored_spans(spans, column) if unit == "spans" else _errors_and_the_rest(spans, text)
    byte = [0, *accumulate(len(character.encode()) for character in text)]
    return tuple(
        Label(byte[start], byte[end], _reward(reward, column), name)
        for start, end, reward, name in pieces
        if reward is not None
    )


def line_spans(text: str) -> list[Span]:
    """The lines that hold text, each with the white space after it, as code points; together the whole text."""
    return _cut(text, _LINE_END)


def sentence_spans(text: str) -> list[Span]:
    """The sentences, each with the white space after it, as code points; together the whole text.

    A sentence ends at ``.``, ``!``, ``?`` or ``…`` before white space, with quotes and brackets that close after it, at
    ``。``, ``！`` or ``？``, and at a line's end. Abbreviations are not known: "Dr. Who" is two.
    """
    return _cut(text, _SENTENCE_END)


def _cut(text: str, ends: re.Pattern[str]) -> list[Span]:
    edges = [0, *(match.end() for match in ends.finditer(text)), len(text)]
    parts = [(start, text[start:end]) for start, end in pairwise(edges)]
    starts = [start + len(part) - len(part.lstrip()) for start, part in parts if part.strip()]
    return list(pairwise([0, *starts[1:], len(text)])) if starts else []


def _scored_units(values: Sequence[Any], text: str, column: str) -> list[Piece]:
    """One label per line, or one per sentence: the cut that has as many pieces, where only one has."""
    lines, sentences = line_spans(text), sentence_spans(text)
    fitting = [cut for cut in (lines, sentences) if len(cut) == len(values)]
    if not fitting or fitting[0] != fitting[-1]:
        both = "both fit, with other borders" if fitting else "neither fits"
        raise RowRejected(
            "label_mismatch",
            f"column {column!r}: {len(values)} labels, {len(lines)} lines, {len(sentences)} sentences: {both}",
        )
    return [(start, end, value, json.dumps(value)) for (start, end), value in zip(fitting[0], values, strict=True)]


def _spans(items: Sequence[Any], text: str, column: str) -> list[tuple[int, int, Mapping[str, Any]]]:
    """The spans in the order of the text, checked against its length."""
    spans = []
    for item in items:
        start, end = (item.get("start"), item.get("end")) if isinstance(item, Mapping) else (None, None)
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text):
            raise RowRejected(
                "label_mismatch", f"column {column!r}: [{start}, {end}) is no span of {len(text)} characters"
            )
        spans.append((start, end, item))
    return sorted(spans, key=lambda span: span[:2])


def _scored_spans(spans: Sequence[tuple[int, int, Mapping[str, Any]]], column: str) -> list[Piece]:
    for (_, end, _), (start, _, _) in pairwise(spans):
        if start < end:
            raise RowRejected("label_mismatch", f"column {column!r}: two spans overlap at character {start}")
    rewards = [next((item[key] for key in _REWARD_KEYS if item.get(key) is not None), None) for *_, item in spans]
    return [(start, end, value, json.dumps(value)) for (start, end, _), value in zip(spans, rewards, strict=True)]


def _errors_and_the_rest(spans: Sequence[tuple[int, int, Mapping[str, Any]]], text: str) -> list[Piece]:
    """Reward 0 in the spans, which may overlap, and 1 in what is left.

    White space between the two is unknown: a token takes it along, and would be a little better or worse for it.
    """
    pieces: list[Piece] = []
    position = 0
    for start, end, item in spans:
        pieces += _correct(text, position, start)
        if end > position:
            kind = item.get("type")
            pieces.append((max(start, position), end, 0, kind if isinstance(kind, str) else "error"))
            position = end
    return pieces + _correct(text, position, len(text))


def _correct(text: str, start: int, end: int) -> list[Piece]:
    part = text[start:end]
    start, end = start + len(part) - len(part.lstrip()), start + len(part.rstrip())
    return [(start, end, 1, "correct")] if start < end else []


def _reward(value: Any, column: str) -> float:
    """A number, or 1 and 0 for true and false."""
    return float(value) if isinstance(value, bool) else finite_number(value, f"column {column!r}, a label")
