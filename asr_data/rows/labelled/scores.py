"""Scores from 0 to 4 by five criteria: of a whole response (HelpSteer), or of each of its sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from asr_data.response import response_text
from asr_data.rows.best_and_worst import finite_number
from asr_data.rows.columns import column_type, is_number, item_type
from asr_data.rows.labelled.format import (
    Format,
    ReadRow,
    Record,
    assistant,
    has,
    has_number_lists,
    has_numbers,
    single,
    user,
)
from asr_data.rows.labelled.spans import LabelledSpan, byte_labels
from asr_data.rows.labelled.values import conversation, fraction, items, mismatch, text, value
from asr_data.types import Completion, Label, Message

_QUALITY: Final = ("helpfulness", "correctness", "coherence")
_CRITERIA: Final = (*_QUALITY, "complexity", "verbosity")
_HIGHEST: Final = 4.0
_TURN: Final = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")


def _has_attributes(schema: pa.Schema, records: Sequence[Record]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "response") and has_numbers(schema, *_CRITERIA)


def read_attributes(record: Record) -> ReadRow:
    """Read HelpSteer and HelpSteer2: one label over the whole response.

    Its reward is the mean of helpfulness, correctness and coherence, divided by 4; complexity and verbosity describe a
    response and do not judge it. Prompts of several turns, with ``<extra_id_1>`` between them, become messages.
    """
    response = text(record, "response")
    scores = [fraction(value(record, column), repr(column), _HIGHEST) for column in _QUALITY]
    whole: LabelledSpan = (
        0,
        len(response),
        sum(scores) / len(scores),
        ",".join(str(record[column]) for column in _QUALITY),
    )
    return single(_turns(text(record, "prompt")), (response, byte_labels(response, [whole])))


def _turns(prompt: str) -> str | list[Message]:
    first, *rest = _TURN.split(prompt)
    if not rest:
        return prompt
    turns = [("user", first), *((role.lower(), content) for role, content in zip(rest[::2], rest[1::2], strict=True))]
    return [{"role": role, "content": content} for role, content in turns]


def _has_sentence_scores(schema: pa.Schema, records: Sequence[Record]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "response") and has_number_lists(schema, *_CRITERIA)


def read_sentence_scores(record: Record) -> ReadRow:
    """Read a list of scores per criterion, one score per sentence (ASR, appendix A).

    A sentence's reward is the mean over the five criteria, divided by 4; with a null among its scores it is unknown.
    Sentences are those of :func:`asr_data.boundaries.sentence_spans`, without the white space after them; where the
    counts differ the row is rejected. HelpSteer2's ``disagreements`` look alike, but list a score per annotator.
    """
    response = text(record, "response")
    lists = [items(record, column) for column in _CRITERIA]
    return single(_turns(text(record, "prompt")), (response, _sentence_labels(response, lists, 0.0, _HIGHEST)))


def _has_completion_scores(schema: pa.Schema, records: Sequence[Record]) -> bool:  # noqa: ARG001 - one signature
    kind = column_type(schema, "scores")
    item = None if kind is None else item_type(kind)
    number = item if item is None else item_type(item) or item
    return has(schema, "prompt", "completion") and number is not None and is_number(number)


def read_completion_scores(record: Record) -> ReadRow:
    """Read ``prompt``, ``completion`` and ``scores``: one score per sentence, or a list of them per criterion.

    A sentence's reward is the mean over the criteria, from 0 to 4, or from ``score_min`` to ``score_max`` where the
    row has these; with a null among its scores it is unknown. Sentences are those of ``sentence_scores``.
    """
    content = conversation(record, "completion")
    low, high = (
        float(finite_number(record[name], repr(name))) if record.get(name) is not None else default
        for name, default in (("score_min", 0.0), ("score_max", _HIGHEST))
    )
    if not low < high:
        mismatch(f"'score_min' is {low:g} and 'score_max' {high:g}")
    scores = items(record, "scores")
    nested = bool(scores) and all(isinstance(one, list | tuple) for one in scores)
    labels = _sentence_labels(response_text(content), scores if nested else [scores], low, high)
    messages = assistant(content) if isinstance(content, str) else content
    return user(conversation(record, "prompt")), (Completion("completion", messages, True, labels),)


def _sentence_labels(response: str, lists: Sequence[Sequence[Any]], low: float, high: float) -> tuple[Label, ...]:
    """One label per sentence, without the white space after it: the mean of its scores, from 0 at ``low`` to 1."""
    from asr_data.boundaries import sentence_spans  # compiled code: not for every command

    sentences = sentence_spans(response)
    if any(len(scores) != len(sentences) for scores in lists):
        mismatch(f"{len(sentences)} sentences, but {', '.join(str(len(scores)) for scores in lists)} scores")
    spans: list[LabelledSpan] = []
    for (start, end), scores in zip(sentences, zip(*lists, strict=True), strict=True):
        sentence = response[start:end]
        start += len(sentence) - len(sentence.lstrip())
        reward = _mean(scores, low, high)
        spans.append((start, start + len(sentence.strip()), reward, ",".join(map(str, scores))))
    return byte_labels(response, spans)


def _mean(scores: Sequence[Any], low: float, high: float) -> float | None:
    if None in scores:
        return None
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float) or not low <= score <= high:
            mismatch(f"a score is {score!r}, not a number from {low:g} to {high:g}")
    return (sum(scores) / len(scores) - low) / (high - low)


HELPSTEER: Final = Format(
    "helpsteer",
    "HelpSteer and HelpSteer2: scores of the whole response",
    "https://huggingface.co/datasets/nvidia/HelpSteer2",
    ("completion",),
    _has_attributes,
    read_attributes,
)
SENTENCE_SCORES: Final = Format(
    "sentence_scores",
    "five criteria, each with a score per sentence",
    "https://arxiv.org/abs/2411.00809",
    ("completion",),
    _has_sentence_scores,
    read_sentence_scores,
)
COMPLETION_SCORES: Final = Format(
    "completion_scores",
    "a score per sentence, or several by as many criteria",
    "https://arxiv.org/abs/2411.00809",
    ("completion",),
    _has_completion_scores,
    read_completion_scores,
)
