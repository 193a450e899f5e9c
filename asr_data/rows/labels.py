"""Label columns: one value per line or sentence of a response, or spans of its characters, as ``Label``s.

What a column's type says about its unit is decided once, for the whole data set:

* ``scores``: a list of numbers or booleans, one per line or per sentence, whichever there are as many of. A null is
  unknown.
* ``criteria``: a list of such lists, one for each criterion: criteria × sentences, from 0 to 4
  (:mod:`asr_data.rows.labelled.criteria`).
* ``spans``: a list of objects with ``start``, ``end`` and a ``reward``, ``score`` or ``label``. What no span covers is
  unknown.
* ``errors``: a list of objects with ``start`` and ``end`` and none of these keys: reward 0 inside, 1 elsewhere, and
  unknown for white space between the two. So is a list that is empty in every row, whose items have no type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa

from asr_data.errors import InputError, RowRejected
from asr_data.response import byte_offsets, contents_text, labels_in_response
from asr_data.rows.best_and_worst import finite_number
from asr_data.rows.columns import is_number, is_span, item_type
from asr_data.rows.labelled.criteria import sentence_labels
from asr_data.rows.labelled.spans import LabelledSpan, mark_spans
from asr_data.rows.labelled.values import integer
from asr_data.types import Label, Text

LabelUnit: TypeAlias = Literal["scores", "criteria", "spans", "errors"]

_REWARD_KEYS: Final = ("reward", "score", "label")
_ERROR: Final = "error"
"""Name of the label of an error without a type."""


def label_unit(kind: pa.DataType, column: str) -> LabelUnit:
    """What the values of a label column stand for, by its type.

    Raises:
        InputError: the column holds no labels.
    """
    item = item_type(kind)
    if item is not None and (is_number(item) or pa.types.is_boolean(item)):
        return "scores"
    inner = None if item is None else item_type(item)
    if inner is not None and is_number(inner):
        return "criteria"
    if item is not None and pa.types.is_struct(item) and is_span(item):
        return "spans" if {field.name for field in item.fields}.intersection(_REWARD_KEYS) else "errors"
    if item is not None and pa.types.is_null(item):
        return "errors"
    raise InputError(
        f"column {column!r} is {kind}; labels are a list of numbers or booleans, lists of criteria × sentences, or "
        f"a list of objects with start and end in characters and, optionally, one of {', '.join(_REWARD_KEYS)}"
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
        return labels_in_response(_labels(text, _scored_units(value, text, column), column), content)
    if unit == "criteria":
        return labels_in_response(sentence_labels(text, value, f"column {column!r}"), content)
    spans = _spans(value, text, column)
    if unit == "spans":
        return labels_in_response(_labels(text, _scored_spans(spans, column), column), content)
    errors: list[LabelledSpan] = [(start, end, 0.0, _error_name(item)) for start, end, item in spans]
    return labels_in_response(mark_spans(text, errors), content)


def _labels(text: str, pieces: Sequence[tuple[int, int, Any, str]], column: str) -> tuple[Label, ...]:
    byte = byte_offsets(text).tolist()
    return tuple(
        Label(byte[start], byte[end], _reward(reward, column), name)
        for start, end, reward, name in pieces
        if reward is not None
    )


def _scored_units(values: Sequence[Any], text: str, column: str) -> list[tuple[int, int, Any, str]]:
    """One label per line, or one per sentence: the cut that has as many pieces, where only one has."""
    from asr_data.boundaries import line_spans, sentence_spans  # compiled code: not for every command

    lines, sentences = line_spans(text), sentence_spans(text)
    fitting = [cut for cut in (lines, sentences) if len(cut) == len(values)]
    if not fitting or fitting[0] != fitting[-1]:
        both = "both match, with different boundaries" if fitting else "neither matches"
        raise RowRejected(
            "label_mismatch",
            f"column {column!r}: {len(values)} labels, {len(lines)} lines, {len(sentences)} sentences: {both}",
        )
    return [(start, end, value, json.dumps(value)) for (start, end), value in zip(fitting[0], values, strict=True)]


def _spans(items: Sequence[Any], text: str, column: str) -> list[tuple[int, int, Mapping[str, Any]]]:
    """The spans in the order of the text, checked against its length."""
    spans = []
    for item in items:
        if not isinstance(item, Mapping):
            raise RowRejected(
                "label_mismatch", f"column {column!r} holds {item!r:.60}, not an object with start and end"
            )
        start, end = (integer(item.get(edge), f"column {column!r}: a span's {edge!r}") for edge in ("start", "end"))
        if not 0 <= start < end <= len(text):
            raise RowRejected(
                "label_mismatch", f"column {column!r}: [{start}, {end}) is no span of {len(text)} characters"
            )
        spans.append((start, end, item))
    return sorted(spans, key=lambda span: span[:2])


def _scored_spans(spans: Sequence[tuple[int, int, Mapping[str, Any]]], column: str) -> list[tuple[int, int, Any, str]]:
    for (_, end, _), (start, _, _) in pairwise(spans):
        if start < end:
            raise RowRejected("label_mismatch", f"column {column!r}: two spans overlap at character {start}")
    rewards = [next((item[key] for key in _REWARD_KEYS if item.get(key) is not None), None) for *_, item in spans]
    return [(start, end, value, json.dumps(value)) for (start, end, _), value in zip(spans, rewards, strict=True)]


def _error_name(item: Mapping[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else _ERROR


def _reward(value: Any, column: str) -> float:
    """A number, or 1 and 0 for true and false."""
    return float(value) if isinstance(value, bool) else finite_number(value, f"column {column!r}, a label")
