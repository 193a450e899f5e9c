"""Scores by criteria: of a whole response (HelpSteer), or of each of its sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.rows.best_and_worst import finite_number
from asr_data.rows.columns import column_type, is_number, item_type
from asr_data.rows.labelled.criteria import HIGHEST, QUALITY, labels_with_scores, sentence_labels
from asr_data.rows.labelled.format import (
    InputRecord,
    LabelledFormat,
    ReadRow,
    assistant,
    has,
    has_number_lists,
    has_numbers,
    single,
    user,
)
from asr_data.rows.labelled.spans import LabelledSpan
from asr_data.rows.labelled.values import conversation, fraction, items, mismatch, text, value
from asr_data.types import CRITERIA, Completion, Message

_TURN: Final = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")
_PROMPTS: Final = ("prompt", "instruction", "Instruction")
_PAIRS: Final = (("chosen", "rejected"), ("Chosen", "Rejected"))
_SCORES: Final = ("{} scores", "{}_scores")


def _has_attributes(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "response") and has_numbers(schema, *CRITERIA)


def read_attributes(record: InputRecord) -> ReadRow:
    """Read HelpSteer and HelpSteer2: one label over the whole response.

    Its reward is the mean of helpfulness, correctness and coherence, divided by 4; complexity and verbosity describe a
    response and do not judge it. Prompts of several turns, with ``<extra_id_1>`` between them, become messages.
    """
    response = text(record, "response")
    needed = {column: value(record, column) for column in QUALITY}
    given = {column: record.get(column) for column in CRITERIA}
    scores = {column: fraction(one, repr(column), HIGHEST) for column, one in given.items() if one is not None}
    whole: LabelledSpan = (
        0,
        len(response),
        sum(scores[column] for column in QUALITY) / len(QUALITY),
        ",".join(map(str, needed.values())),
    )
    five = tuple(scores.values()) if len(scores) == len(CRITERIA) else ()
    return single(_turns(text(record, "prompt")), (response, labels_with_scores(response, [(whole, five)])))


def _turns(prompt: str) -> str | list[Message]:
    """HelpSteer's prompts: several turns are one text, with a mark before each but the first."""
    first, *rest = _TURN.split(prompt)
    if not rest:
        return prompt
    turns = [("user", first), *((role.lower(), content) for role, content in zip(rest[::2], rest[1::2], strict=True))]
    return [{"role": role, "content": content} for role, content in turns]


def _has_sentence_scores(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "response") and has_number_lists(schema, *CRITERIA)


def read_sentence_scores(record: InputRecord) -> ReadRow:
    """Read a list of scores per criterion, one score per sentence.

    A sentence's reward is the mean of helpfulness, correctness and coherence, divided by 4; with a null among its
    scores it is unknown. Sentences are those of :func:`asr_data.boundaries.sentence_spans`, without the white space
    after them; where the counts differ the row is rejected. HelpSteer2's ``disagreements`` look alike, but list a
    score per annotator.
    """
    response = text(record, "response")
    lists = [items(record, column) for column in CRITERIA]
    return single(_turns(text(record, "prompt")), (response, sentence_labels(response, lists, ", ".join(CRITERIA))))


def _pair_columns(there: Sequence[str]) -> tuple[str, str, str, str, str] | None:
    """The columns of prompt, responses and their scores, by the first spelling that is there."""
    for chosen, rejected in _PAIRS:
        for form in _SCORES:
            scores = form.format("chosen"), form.format("rejected")
            prompt = next((name for name in _PROMPTS if name in there), None)
            if prompt is not None and {chosen, rejected, *scores} <= set(there):
                return prompt, chosen, rejected, *scores
    return None


def _has_criteria_pairs(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    columns = _pair_columns(schema.names)
    if columns is None:
        return False
    inner = [item_type(item_type(schema.field(column).type) or pa.null()) for column in columns[3:]]
    return all(kind is not None and is_number(kind) for kind in inner)


def read_criteria_pairs(record: InputRecord) -> ReadRow:
    """Read the paper's own data (appendix A.2): two responses, and for each a matrix of criteria × sentences.

    Columns are ``Instruction``, ``instruction`` or ``prompt``, ``chosen`` and ``rejected`` (also with a capital
    letter), ``chosen scores`` and ``rejected scores`` (also with an underscore). The five criteria stand in the order
    of ``CRITERIA``, scored from 0 to 4. Sentences and their rewards are those of :func:`read_sentence_scores`. A side
    whose scores are null is unknown.
    """
    columns = _pair_columns(list(record))
    if columns is None:
        raise RowRejected("missing_column", "a column of prompt, responses or scores is missing")
    prompt, *sides = columns
    completions = []
    for column, scores, preferred in zip(sides[:2], sides[2:], (True, False), strict=True):
        response = text(record, column)
        lists = record[scores]
        if lists is not None and len(items(record, scores)) != len(CRITERIA):
            mismatch(f"{scores!r} holds {len(lists)} lists; there are {len(CRITERIA)} criteria: {', '.join(CRITERIA)}")
        labels = () if lists is None else sentence_labels(response, lists, repr(scores))
        completions.append(Completion("chosen" if preferred else "rejected", assistant(response), preferred, labels))
    return user(_turns(text(record, prompt))), tuple(completions)


def _has_completion_scores(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature
    kind = column_type(schema, "scores")
    item = None if kind is None else item_type(kind)
    number = item if item is None else item_type(item) or item
    return has(schema, "prompt", "completion") and number is not None and is_number(number)


def read_completion_scores(record: InputRecord) -> ReadRow:
    """Read ``prompt``, ``completion`` and ``scores``: one score per sentence, or a list of them per criterion.

    Scores are from 0 to 4, or from ``score_min`` to ``score_max`` where the row has these. A sentence's reward is its
    score; of five lists, that of :func:`read_sentence_scores`; of any other number of lists, their mean. With a null
    among its scores it is unknown. Sentences are those of :func:`read_sentence_scores`.
    """
    content = conversation(record, "completion")
    low, high = (
        finite_number(record[name], repr(name)) if record.get(name) is not None else default
        for name, default in (("score_min", 0.0), ("score_max", HIGHEST))
    )
    if not low < high:
        mismatch(f"'score_min' is {low:g} and 'score_max' {high:g}")
    scores = items(record, "scores")
    lists = scores if any(isinstance(one, list | tuple) for one in scores) else [scores]
    labels = sentence_labels(response_text(content), lists, "'scores'", low, high)
    messages = assistant(content) if isinstance(content, str) else content
    return user(conversation(record, "prompt")), (Completion("completion", messages, True, labels),)


HELPSTEER: Final = LabelledFormat(
    "helpsteer",
    "HelpSteer and HelpSteer2: scores of the whole response",
    "https://huggingface.co/datasets/nvidia/HelpSteer2",
    ("completion",),
    _has_attributes,
    read_attributes,
)
SENTENCE_SCORES: Final = LabelledFormat(
    "sentence_scores",
    "five criteria, each with a score per sentence",
    "https://arxiv.org/abs/2411.00809",
    ("completion",),
    _has_sentence_scores,
    read_sentence_scores,
)
CRITERIA_PAIRS: Final = LabelledFormat(
    "criteria_pairs",
    "pairs with scores by five criteria for each sentence of both sides",
    "https://arxiv.org/abs/2411.00809",
    ("chosen", "rejected"),
    _has_criteria_pairs,
    read_criteria_pairs,
)
COMPLETION_SCORES: Final = LabelledFormat(
    "completion_scores",
    "a score per sentence, or several by as many criteria",
    "https://arxiv.org/abs/2411.00809",
    ("completion",),
    _has_completion_scores,
    read_completion_scores,
)
