"""Scores from 0 to 4 by five criteria: of a whole response (HelpSteer), or of each of its sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from asr_data.rows.labelled.fields import fraction, items, mismatch, text, value
from asr_data.rows.labelled.format import Format, Read, Record, has, has_number_lists, has_numbers, single
from asr_data.rows.labelled.spans import Span, byte_labels
from asr_data.rows.labels import sentence_spans
from asr_data.types import Message

_QUALITY: Final = ("helpfulness", "correctness", "coherence")
_CRITERIA: Final = (*_QUALITY, "complexity", "verbosity")
_HIGHEST: Final = 4.0
_TURN: Final = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")


def _has_attributes(schema: pa.Schema, records: Sequence[Record]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "response") and has_numbers(schema, *_CRITERIA)


def read_attributes(record: Record) -> Read:
    """Read HelpSteer and HelpSteer2: one label over the whole response.

    Its reward is the mean of helpfulness, correctness and coherence, divided by 4; complexity and verbosity describe a
    response and do not judge it. Prompts of several turns, with ``<extra_id_1>`` between them, become messages.
    """
    response = text(record, "response")
    scores = [fraction(value(record, column), repr(column), _HIGHEST) for column in _QUALITY]
    whole: Span = (0, len(response), sum(scores) / len(scores), ",".join(str(record[column]) for column in _QUALITY))
    return single(_turns(text(record, "prompt")), (response, byte_labels(response, [whole])))


def _turns(prompt: str) -> str | list[Message]:
    first, *rest = _TURN.split(prompt)
    if not rest:
        return prompt
    turns = [("user", first), *((role.lower(), content) for role, content in zip(rest[::2], rest[1::2], strict=True))]
    return [{"role": role, "content": content} for role, content in turns]


def _has_sentence_scores(schema: pa.Schema, records: Sequence[Record]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "response") and has_number_lists(schema, *_CRITERIA)


def read_sentence_scores(record: Record) -> Read:
    """Read a list of scores per criterion, one score per sentence (ASR, appendix A).

    A sentence's reward is the mean over the five criteria, divided by 4; with a null among its scores it is unknown.
    Sentences are those of :func:`asr_data.rows.labels.sentence_spans`, without the white space after them; where the
    counts differ the row is rejected. HelpSteer2's ``disagreements`` look alike, but list a score per annotator.
    """
    response = text(record, "response")
    sentences = sentence_spans(response)
    lists = [items(record, column) for column in _CRITERIA]
    if any(len(scores) != len(sentences) for scores in lists):
        mismatch(
            f"{len(sentences)} sentences, and {[len(scores) for scores in lists]} scores by {', '.join(_CRITERIA)}"
        )
    spans: list[Span] = []
    for (start, end), scores in zip(sentences, zip(*lists, strict=True), strict=True):
        sentence = response[start:end]
        start += len(sentence) - len(sentence.lstrip())
        spans.append((start, start + len(sentence.strip()), _mean(scores), ",".join(map(str, scores))))
    return single(_turns(text(record, "prompt")), (response, byte_labels(response, spans)))


def _mean(scores: Sequence[Any]) -> float | None:
    if None in scores:
        return None
    rewards = [fraction(score, repr(column), _HIGHEST) for column, score in zip(_CRITERIA, scores, strict=True)]
    return sum(rewards) / len(rewards)


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
