"""TRL's SFTTrainer: ``input_ids`` and ``labels``, which it takes as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from asr_data.export.examples import Cutter
from asr_data.export.formats import Example, ExportFormat, Facts, Setup
from asr_data.export.labels import LABELLED, preferred_sequences
from asr_data.storage import AnnotatedDirectory


def sft() -> ExportFormat:
    """The preferred responses."""
    columns = [column for column in LABELLED if column[0] != "attention_mask"]
    return ExportFormat("data/train.parquet", pa.schema(columns), _records, _setup)


def _records(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[Example]:
    for _, sequence in preferred_sequences(annotated, cutter):
        yield {"input_ids": sequence.ids, "labels": sequence.labels}


def _setup(facts: Facts) -> Setup:
    name = "trl-sft.yaml"
    text = f"""\
model_name_or_path: {json.dumps(facts.model)}
dataset_name: {json.dumps(str(facts.path))}
max_length: {facts.longest}
output_dir: asr-sft
"""
    explanation = (
        "`SFTTrainer` takes rows with `input_ids` as tokenised and uses `labels` as they are; it needs neither "
        "`completion_only_loss` nor `assistant_only_loss`. Its `max_length` is 1024 by default and would cut "
        "longer rows, so it is set to the longest sequence here. Other versions than TRL 1.16 may rebuild the labels: "
        "look at one batch first."
    )
    return Setup(name, text, facts.command("trl sft --config", name), explanation)
