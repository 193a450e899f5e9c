"""Examples with labels: the form that most trainers share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from asr_data.export.examples import Cutter, Response, TokenSequence, read_rows
from asr_data.export.formats import Example
from asr_data.storage import AnnotatedDirectory

LABELLED: Final[list[tuple[str, pa.DataType]]] = [
    ("input_ids", pa.list_(pa.int32())),
    ("attention_mask", pa.list_(pa.int8())),
    ("labels", pa.list_(pa.int64())),
]
"""Columns of a sequence with labels."""


def labelled(sequence: TokenSequence, prefix: str = "") -> Example:
    """The columns of one sequence: every token attended to, masked ones labelled −100."""
    return {
        f"{prefix}input_ids": sequence.ids,
        f"{prefix}attention_mask": np.ones(len(sequence.ids), dtype=np.int8),
        f"{prefix}labels": sequence.labels,
    }


def preferred_sequences(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[tuple[Response, TokenSequence]]:
    """Every response with a positive verdict: for fine-tuning and rejection sampling."""
    for response, *_ in read_rows(annotated):
        if not response.preferred:
            cutter.notes.leave_out(response.row, response.side, "not_preferred", pair=response.pair)
            continue
        sequence = cutter.sequence(response)
        if sequence is not None:
            yield response, sequence


def preferred_labelled(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[Example]:
    """:func:`preferred_sequences` with labels."""
    for _, sequence in preferred_sequences(annotated, cutter):
        yield labelled(sequence)
