"""Steps labelled ``+`` or ``-``: Math-Shepherd, and the conversations of RLHFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from asr_data.rows.columns import column_type, is_text
from asr_data.rows.labelled.format import InputRecord, LabelledFormat, ReadRow, has, single
from asr_data.rows.labelled.spans import LabelledStep, join_steps
from asr_data.rows.labelled.values import mismatch, objects, text

_REWARDS: Final = {"+": 1.0, "-": 0.0}
_MARK: Final = re.compile(r"(?<=\s)ки(?=\s|$)")
_FIRST_STEP: Final = "Step 1:"


def _has_marks(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:
    types = [column_type(schema, column) for column in ("input", "label")]
    inputs = [record.get("input") for record in records]
    return all(kind is not None and is_text(kind) for kind in types) and any(
        isinstance(item, str) and _MARK.search(item) for item in inputs
    )


def read_math_shepherd(record: InputRecord) -> ReadRow:
    """Read Math-Shepherd: in ``input`` each step ends with ``ки``, and in ``label`` with ``+`` or ``-`` instead.

    ``+`` is 1, ``-`` is 0. The response begins at the last ``Step 1:`` before the first mark. Steps lose the mark and
    the white space around them, and are joined by a newline, as in the source; a last step without a mark is unknown.
    """
    marked, label = text(record, "input"), text(record, "label")
    marks = list(_MARK.finditer(marked))
    if not marks:
        mismatch("'input' has no step that ends with 'ки'")
    signs = [label[mark.start() - number : mark.start() - number + 1] for number, mark in enumerate(marks)]
    rest = iter(signs)
    if not set(signs) <= set(_REWARDS) or _MARK.sub(lambda _: next(rest), marked) != label:
        mismatch("'label' is not 'input' with + or - in place of each 'ки'")
    start = marked.rfind(_FIRST_STEP, 0, marks[0].start())
    if start < 0:
        mismatch(f"there is no {_FIRST_STEP!r} before the first mark, so the response has no beginning")
    edges = [start, *(mark.end() for mark in marks)]
    steps: list[LabelledStep] = [
        (marked[edge : mark.start()].strip(), _REWARDS[sign], sign)
        for edge, mark, sign in zip(edges, marks, signs, strict=False)
    ]
    last = marked[edges[-1] :].strip()
    steps += [(last, None, "")] if last else []
    return single(marked[:start].strip(), join_steps(steps, "\n"))


def _has_signed_turns(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:
    if not has(schema, "conversations.role", "conversations.content"):
        return False
    turns = [turn for record in records for turn in record.get("conversations") or [] if turn]
    answers = [turn.get("content") for turn in turns if turn.get("role") == "assistant"]
    return bool(answers) and all(isinstance(answer, str) and answer.strip() in _REWARDS for answer in answers)


def read_rlhflow(record: InputRecord) -> ReadRow:
    """Read RLHFlow's ``conversations``: the user's turns hold the steps, the assistant's ``+`` (1) or ``-`` (0).

    The first turn holds question and first step with only a space between them. The step begins where ``prompt`` or
    ``question`` ends, if the record has such a column, and otherwise at the last ``Step 1:``; where there is neither,
    the row is rejected. Steps that begin with ``Step 1:`` are joined by a newline, others by a blank line.
    """
    turns = objects(record, "conversations")
    if [turn.get("role") for turn in turns] != ["user", "assistant"] * (len(turns) // 2) or not turns:
        mismatch("the turns do not alternate between user and assistant")
    steps = [text(turn, "content") for turn in turns[::2]]
    signs = [text(turn, "content").strip() for turn in turns[1::2]]
    if not set(signs) <= set(_REWARDS):
        mismatch(f"the assistant's turns are {sorted(set(signs))}; allowed are + and -")
    question, first = _first_step(record, steps[0])
    separator = "\n" if first.startswith(_FIRST_STEP) else "\n\n"
    labelled: list[LabelledStep] = [
        (step.strip(), _REWARDS[sign], sign) for step, sign in zip([first, *steps[1:]], signs, strict=True)
    ]
    return single(question, join_steps(labelled, separator))


def _first_step(record: InputRecord, turn: str) -> tuple[str, str]:
    """Question and first step of the first turn."""
    for column in ("prompt", "question"):
        question = record.get(column)
        if isinstance(question, str) and question.strip():
            if not turn.startswith(question.strip()):
                mismatch(f"the first turn does not begin with column {column!r}")
            return question.strip(), turn[len(question.strip()) :].strip()
    start = turn.rfind(_FIRST_STEP)
    if start < 0:
        mismatch(
            f"nothing says where the first turn's question ends and its step begins: there is no {_FIRST_STEP!r}; add "
            "a column 'prompt' that holds the question"
        )
    return turn[:start].strip(), turn[start:].strip()


MATH_SHEPHERD: Final = LabelledFormat(
    "math_shepherd",
    "Math-Shepherd: steps marked with ки, labels + and -",
    "https://huggingface.co/datasets/peiyi9979/Math-Shepherd",
    ("completion",),
    _has_marks,
    read_math_shepherd,
)
RLHFLOW: Final = LabelledFormat(
    "rlhflow",
    "RLHFlow PRM data: a user turn for each step, answered + or -",
    "https://huggingface.co/datasets/RLHFlow/Mistral-PRM-Data",
    ("completion",),
    _has_signed_turns,
    read_rlhflow,
)
