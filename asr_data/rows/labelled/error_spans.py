"""Responses in which people marked what is wrong, as spans of characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.rows.labelled.format import InputRecord, LabelledFormat, ReadRow, has, single, user
from asr_data.rows.labelled.spans import WRONG, LabelledSpan, mark_spans
from asr_data.rows.labelled.values import conversation, integer, mismatch, objects, text, value
from asr_data.types import Completion, Label, Message


def _labels(record: InputRecord, path: tuple[str, ...], content: str | list[Message], kind: str) -> tuple[Label, ...]:
    """0 in the spans of a list of objects with ``start`` and ``end``, whose key ``kind`` names them; 1 elsewhere."""
    return mark_spans(response_text(content), [_error(span, kind) for span in objects(record, *path)])


def _error(span: InputRecord, kind: str) -> LabelledSpan:
    start, end = (integer(value(span, edge), f"a span's {edge!r}") for edge in ("start", "end"))
    return start, end, 0.0, WRONG if span.get(kind) is None else text(span, kind)


def _is_span_pairs(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "chosen", "rejected", "labelled_side", "error_spans")


def read_span_pairs(record: InputRecord) -> ReadRow:
    """Read pairs of which people marked one side: ``labelled_side`` and its ``error_spans`` (start, end, type).

    Spans are 0, the rest of that side is 1, since its readers marked every error that they saw; the other side is
    unknown as a whole.
    """
    side = text(record, "labelled_side")
    if side not in ("chosen", "rejected"):
        mismatch(f"'labelled_side' is {side!r}; allowed are chosen and rejected")
    labels = _labels(record, ("error_spans",), conversation(record, side), "type")
    return _pair(record, {side: labels})


def _pair(record: InputRecord, labels: Mapping[str, tuple[Label, ...]]) -> ReadRow:
    """The columns ``prompt``, ``chosen`` and ``rejected`` as they are, since TRL reads them too."""
    prompt, chosen, rejected = (conversation(record, column) for column in ("prompt", "chosen", "rejected"))
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise RowRejected("wrong_type", "one side is a text, the other one messages")
    return prompt if isinstance(chosen, str) else user(prompt), (
        Completion("chosen", chosen, True, labels.get("chosen", ())),
        Completion("rejected", rejected, False, labels.get("rejected", ())),
    )


def _is_feedback(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "question", "prediction 1", "feedback.errors")


def read_feedback(record: InputRecord) -> ReadRow:
    """Read FineGrainedRLHF as published: the errors of ``prediction 1``, the one that people looked at.

    Spans of ``feedback.errors`` are 0, the rest of the prediction is 1. The passages are not part of the prompt.
    """
    response = text(record, "prediction 1")
    return single(text(record, "question"), (response, _labels(record, ("feedback", "errors"), response, "error type")))


def _is_fault_pairs(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "prompt", "chosen", "rejected", "fault_spans")


def read_fault_pairs(record: InputRecord) -> ReadRow:
    """Read our own sample: ``fault_spans`` (start, end, kind) of the rejected side, whose rest is as good as chosen.

    Spans are 0, all else of both sides is 1.
    """
    good = mark_spans(response_text(conversation(record, "chosen")), [])
    return _pair(
        record,
        {"chosen": good, "rejected": _labels(record, ("fault_spans",), conversation(record, "rejected"), "kind")},
    )


def _is_ragtruth(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "response", "labels.start", "labels.end", "labels.label_type")


def read_ragtruth(record: InputRecord) -> ReadRow:
    """Read RAGTruth: ``prompt``, ``response`` and ``labels``, spans of what the sources do not support.

    Spans are 0 and the rest is 1; a span with ``implicit_true`` (true, but not in the sources) is unknown. Refusals
    that the annotators call incorrect are rejected: such a response is bad with no span to show it. A span must hold
    the ``text`` that its label names.
    """
    if record.get("prompt") is None:
        raise RowRejected("missing_column", "'prompt' is absent or null; it is in source_info.jsonl, by source_id")
    if record.get("quality") == "incorrect_refusal":
        mismatch("'quality' is incorrect_refusal, which is bad without a span")
    response = text(record, "response")
    spans: list[LabelledSpan] = []
    for label in objects(record, "labels"):
        start, end, reward, name = _error(label, "label_type")
        quoted = label.get("text")
        if quoted is not None and response[start:end] != quoted:
            mismatch(f"[{start}, {end}) holds {response[start:end]!r:.60}, and the label says {quoted!r:.60}")
        spans.append((start, end, None if label.get("implicit_true") else reward, name))
    return single(text(record, "prompt"), (response, mark_spans(response, spans)))


FINEGRAINED_PAIRS: Final = LabelledFormat(
    "finegrained_pairs",
    "pairs with error spans of one side",
    "https://github.com/allenai/FineGrainedRLHF",
    ("chosen", "rejected"),
    _is_span_pairs,
    read_span_pairs,
)
FINEGRAINED_FEEDBACK: Final = LabelledFormat(
    "finegrained_feedback",
    "FineGrainedRLHF as published: error spans of the first prediction",
    "https://github.com/allenai/FineGrainedRLHF/tree/main/tasks/qa_feedback/data",
    ("completion",),
    _is_feedback,
    read_feedback,
)
FAULT_PAIRS: Final = LabelledFormat(
    "fault_pairs",
    "pairs with fault spans of the rejected side, like our own sample",
    "asr_data/sample/pairs.jsonl",
    ("chosen", "rejected"),
    _is_fault_pairs,
    read_fault_pairs,
)
RAGTRUTH: Final = LabelledFormat(
    "ragtruth",
    "RAGTruth: spans of hallucination",
    "https://github.com/ParticleMedia/RAGTruth",
    ("completion",),
    _is_ragtruth,
    read_ragtruth,
)
