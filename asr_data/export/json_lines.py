"""JSON lines: the columns of the data contract, for a program of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator

from asr_data.export.examples import Cutter, read_rows, require_masks
from asr_data.export.formats import Example, ExportFormat, Facts, Setup
from asr_data.storage import AnnotatedDirectory
from asr_data_schemas import data_schema


def every_column(annotated: AnnotatedDirectory) -> ExportFormat:
    """The added columns of every row, without the input's own; nothing is cut or left out."""
    manifest = annotated.manifest
    schema = data_schema(
        manifest.sides,
        manifest.prefix,
        reference=manifest.reference is not None,
        weights=manifest.has_weights,
        pairs=manifest.plan.several_pairs,
    )
    return ExportFormat("train.jsonl", schema, _records, _setup)


def _records(annotated: AnnotatedDirectory, _: Cutter) -> Iterator[Example]:
    require_masks(annotated)
    checked = read_rows(annotated)
    for batch in annotated.data_batches(columns=list(annotated.manifest.added_columns())):
        for record in batch.to_pylist():
            next(checked)  # raises where ids, masks and weights do not fit
            yield record


def _setup(facts: Facts) -> Setup:
    text = f"""\
from datasets import load_dataset

rows = load_dataset("json", data_files={json.dumps(str(facts.data))}, split="train")
"""
    explanation = (
        "One object per row with the columns of the data contract. A mask is true where the token is trained on; masks "
        "and rewards are unshifted, one value per token of `S_ids`."
    )
    return Setup("load.py", text, facts.command("python", "load.py"), explanation)
