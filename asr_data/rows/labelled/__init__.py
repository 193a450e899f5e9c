"""Data sets whose rows carry labels of their own: of steps, spans, sentences or whole responses.

A record becomes a prompt and one or two completions with :class:`asr_data.types.Label`\\ s. What a format's
labels become is said in its reader's docstring and in ``docs/labels.md``. One rule holds for all: bytes that
no label covers are unknown, never good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from asr_data.rows.labelled.error_spans import FAULT_PAIRS, FINEGRAINED_FEEDBACK, FINEGRAINED_PAIRS, RAGTRUTH
from asr_data.rows.labelled.format import InputRecord, LabelledFormat, ReadRow
from asr_data.rows.labelled.math_aps import MATH_APS, MATH_APS_TREE
from asr_data.rows.labelled.plus_minus import MATH_SHEPHERD, RLHFLOW
from asr_data.rows.labelled.prm800k import PRM800K
from asr_data.rows.labelled.prmbench import PRMBENCH, PRMBENCH_PAIRS
from asr_data.rows.labelled.scores import COMPLETION_SCORES, CRITERIA_PAIRS, HELPSTEER, SENTENCE_SCORES
from asr_data.rows.labelled.steps import BIG_BENCH_MISTAKE, FIRST_ERROR, PROCESS_BENCH, TRL_STEPWISE

__all__ = ["FORMATS", "LabelledFormat", "match", "read"]

FORMATS: Final[Mapping[str, LabelledFormat]] = {
    "prm800k": PRM800K,
    "math_shepherd": MATH_SHEPHERD,
    "rlhflow": RLHFLOW,
    "trl_stepwise": TRL_STEPWISE,
    "first_error": FIRST_ERROR,
    "math_aps": MATH_APS,
    "math_aps_tree": MATH_APS_TREE,
    "processbench": PROCESS_BENCH,
    "big_bench_mistake": BIG_BENCH_MISTAKE,
    "prmbench": PRMBENCH,
    "prmbench_pairs": PRMBENCH_PAIRS,
    "finegrained_pairs": FINEGRAINED_PAIRS,
    "finegrained_feedback": FINEGRAINED_FEEDBACK,
    "fault_pairs": FAULT_PAIRS,
    "ragtruth": RAGTRUTH,
    "helpsteer": HELPSTEER,
    "sentence_scores": SENTENCE_SCORES,
    "criteria_pairs": CRITERIA_PAIRS,
    "completion_scores": COMPLETION_SCORES,
}
"""Every format by its name, in the order in which the documentation shows them."""


def match(schema: pa.Schema, records: Sequence[InputRecord]) -> list[str]:
    """Names of the formats that a data set has: none, one, or several that the user must choose between."""
    return [name for name, format_ in FORMATS.items() if format_.matches(schema, records)]


def read(name: str, record: InputRecord) -> ReadRow:
    """A record's prompt, and ``(chosen, rejected)`` or ``(completion,)`` with labels.

    Args:
        name: a key of ``FORMATS``.
        record: the input columns.

    Raises:
        RowRejected: ``missing_column``, ``wrong_type``, ``invalid_unicode``, ``empty_response``, ``prompt_mismatch`` or
            ``label_mismatch``; what else can be wrong with texts is left to the checks that all layouts share.
    """
    return FORMATS[name].read(record)
