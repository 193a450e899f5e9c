"""PRMBench: a correct solution, and one into which faulty steps were put."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from asr_data.errors import RowRejected
from asr_data.rows.labelled.format import InputRecord, LabelledFormat, ReadRow, assistant, has, user
from asr_data.rows.labelled.spans import CORRECT, WRONG, join_steps
from asr_data.rows.labelled.values import integer, items, mismatch, text, texts
from asr_data.types import Completion


def _is_original(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "original_question", "modified_question", "original_process", "modified_process", "error_steps")


def read_prmbench(record: InputRecord) -> ReadRow:
    """Read PRMBench as published: ``original_process`` is chosen, ``modified_process`` rejected.

    ``error_steps`` counts from 1: these steps of the rejected side are 0, all others of both sides are 1. The prompt
    is ``modified_question``; where it is another question than ``original_question``, there is no pair. The steps are
    joined by a newline.
    """
    question = text(record, "modified_question")
    if question.split() != text(record, "original_question").split():
        raise RowRejected("prompt_mismatch", "the modified question is not the original one")
    chosen, rejected = texts(record, "original_process"), texts(record, "modified_process")
    return _pair(question, chosen, rejected, items(record, "error_steps"))


def _is_pairs(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "chosen", "rejected", "rejected_error_steps")


def read_pairs(record: InputRecord) -> ReadRow:
    """Read lists of steps ``chosen`` and ``rejected`` with ``rejected_error_steps``; see :func:`read_prmbench`."""
    chosen, rejected = texts(record, "chosen"), texts(record, "rejected")
    return _pair(text(record, "prompt"), chosen, rejected, items(record, "rejected_error_steps"))


def _pair(prompt: str, chosen: list[str], rejected: list[str], wrong: Sequence[Any]) -> ReadRow:
    numbers = {integer(number, "a number of a faulty step") for number in wrong}
    if not numbers:
        mismatch("no step is faulty, so neither side is worse")
    if not numbers <= set(range(1, len(rejected) + 1)):
        mismatch(f"the faulty steps are {sorted(numbers)}; allowed are 1 to {len(rejected)}")
    good, good_labels = join_steps([(step, 1.0, CORRECT) for step in chosen], "\n")
    bad, bad_labels = join_steps(
        [(step, 0.0, WRONG) if number in numbers else (step, 1.0, CORRECT) for number, step in enumerate(rejected, 1)],
        "\n",
    )
    return user(prompt), (
        Completion("chosen", assistant(good), True, good_labels),
        Completion("rejected", assistant(bad), False, bad_labels),
    )


PRMBENCH: Final = LabelledFormat(
    "prmbench",
    "PRMBench: a solution and its faulty version",
    "https://huggingface.co/datasets/hitsmy/PRMBench_Preview",
    ("chosen", "rejected"),
    _is_original,
    read_prmbench,
)
PRMBENCH_PAIRS: Final = LabelledFormat(
    "prmbench_pairs",
    "pairs of solutions as lists of steps, with the numbers of the rejected one's faulty steps",
    "https://github.com/ssmisya/PRMBench",
    ("chosen", "rejected"),
    _is_pairs,
    read_pairs,
)
