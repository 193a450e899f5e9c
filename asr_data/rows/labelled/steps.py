"""One list of steps with one label each, or with the number of the first wrong one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from asr_data.rows.labelled.format import (
    InputRecord,
    LabelledFormat,
    LabelledText,
    ReadRow,
    has,
    has_number_lists,
    has_numbers,
    single,
)
from asr_data.rows.labelled.spans import CORRECT, WRONG, LabelledStep, join_steps
from asr_data.rows.labelled.values import fraction, integer, items, mismatch, text, texts, value


def _has_stepwise(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "completions") and has_number_lists(schema, "labels")


def read_stepwise(record: InputRecord) -> ReadRow:
    """Read TRL's stepwise supervision: ``prompt``, ``completions`` (the steps) and ``labels``.

    True is 1, false is 0, a number from 0 to 1 is taken as it is, null is unknown. The steps are joined by a newline,
    TRL's default step separator.
    """
    steps, labels = texts(record, "completions"), items(record, "labels")
    if len(steps) != len(labels):
        mismatch(f"{len(labels)} labels for {len(steps)} steps")
    labelled: list[LabelledStep] = [
        (step, None if label is None else fraction(label, f"label {number}"), json.dumps(label))
        for number, (step, label) in enumerate(zip(steps, labels, strict=True), 1)
    ]
    return single(text(record, "prompt"), join_steps(labelled, "\n"))


def first_error(steps: Sequence[str], wrong: int | None, separator: str) -> LabelledText:
    """Steps of which the first wrong one is known: 1 before it, 0 for it, and nothing after it.

    Args:
        steps: the texts.
        wrong: its index from 0, or None where every step is correct.
        separator: joins the steps.
    """
    if wrong is not None and not 0 <= wrong < len(steps):
        mismatch(f"the first wrong step has index {wrong}, of {len(steps)} steps")
    known = len(steps) if wrong is None else wrong
    labelled: list[LabelledStep] = [(step, 1.0, CORRECT) for step in steps[:known]]
    labelled += [(step, 0.0, WRONG) for step in steps[known : known + 1]]
    labelled += [(step, None, "") for step in steps[known + 1 :]]
    return join_steps(labelled, separator)


def _has_first_error(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "completions") and has_numbers(schema, "first_error_step")


def read_first_error(record: InputRecord) -> ReadRow:
    """Read ``prompt``, ``completions`` (the steps) and ``first_error_step``, from 1, or 0 where there is none.

    Steps before it are 1, it is 0, what follows is unknown; with 0 all are 1. The steps are joined by a newline.
    """
    number = integer(value(record, "first_error_step"), "'first_error_step'")
    wrong = None if number == 0 else number - 1
    return single(text(record, "prompt"), first_error(texts(record, "completions"), wrong, "\n"))


def _has_process_bench(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "problem", "steps") and has_numbers(schema, "label")


def read_process_bench(record: InputRecord) -> ReadRow:
    """Read ProcessBench: ``problem``, ``steps`` and ``label``, the index of the first wrong step or −1.

    Steps before it are 1, it is 0, what follows is unknown; with −1 all are 1. The steps are paragraphs, joined by a
    blank line.
    """
    label = integer(value(record, "label"), "'label'")
    wrong = None if label == -1 else label
    return single(text(record, "problem"), first_error(texts(record, "steps"), wrong, "\n\n"))


def _has_mistakes(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "input", "steps", "mistake_index")


def read_mistakes(record: InputRecord) -> ReadRow:
    """Read BIG-Bench Mistake: ``input``, ``steps`` and ``mistake_index``, from 0, or null where there is none.

    Steps before the mistake are 1, it is 0, what follows is unknown; without one all are 1. The steps are joined by a
    newline.
    """
    if "mistake_index" not in record:  # null is a value here, so an absent column must not look like it
        value(record, "mistake_index")
    index = record["mistake_index"]
    wrong = None if index is None else integer(index, "'mistake_index'")
    return single(text(record, "input"), first_error(texts(record, "steps"), wrong, "\n"))


TRL_STEPWISE: Final = LabelledFormat(
    "trl_stepwise",
    "TRL stepwise supervision: a label for each step",
    "https://huggingface.co/docs/trl/v0.17.0/dataset_formats",
    ("completion",),
    _has_stepwise,
    read_stepwise,
)
FIRST_ERROR: Final = LabelledFormat(
    "first_error",
    "steps, and the number of the first wrong one",
    "https://huggingface.co/docs/trl/v0.17.0/dataset_formats",
    ("completion",),
    _has_first_error,
    read_first_error,
)
PROCESS_BENCH: Final = LabelledFormat(
    "processbench",
    "ProcessBench: the first wrong step",
    "https://huggingface.co/datasets/Qwen/ProcessBench",
    ("completion",),
    _has_process_bench,
    read_process_bench,
)
BIG_BENCH_MISTAKE: Final = LabelledFormat(
    "big_bench_mistake",
    "BIG-Bench Mistake: the first mistaken step",
    "https://github.com/WHGTyen/BIG-Bench-Mistake",
    ("completion",),
    _has_mistakes,
    read_mistakes,
)
