"""verl: its SFT trainer takes a token mask only from a data set class, so that class comes with the export."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from asr_data.export.examples import Cutter
from asr_data.export.formats import Example, ExportFormat, Facts, Setup
from asr_data.export.labels import preferred_sequences
from asr_data.storage import AnnotatedDirectory

_CLASS_FILE: Final = "masked_sft_dataset.py"


def sft(*, weights: bool = False) -> ExportFormat:
    """The preferred responses; with ``weights``, verl's ``loss_mask`` has them, and it divides by their sum."""
    kind = pa.float32() if weights else pa.int8()
    columns: list[tuple[str, pa.DataType]] = [("input_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(kind))]
    return ExportFormat("data/train.parquet", pa.schema(columns), _weighted if weights else _masked, _setup)


def _masked(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[Example]:
    for _, sequence in preferred_sequences(annotated, cutter):
        yield {"input_ids": sequence.ids, "loss_mask": sequence.mask.astype(np.int8)}


def _weighted(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[Example]:
    for _, sequence in preferred_sequences(annotated, cutter):
        yield {"input_ids": sequence.ids, "loss_mask": sequence.weights}


def _setup(facts: Facts) -> Setup:
    settings = {
        "model.path": facts.model,
        "data.train_files": facts.data,
        "data.custom_cls.path": facts.path / _CLASS_FILE,
        "data.custom_cls.name": "MaskedSFTDataset",
        "data.pad_mode": "no_padding",
        "data.max_length": facts.longest,
        "data.max_token_len_per_gpu": max(8_192, facts.longest),
    }
    words = ["torchrun", "--standalone", "--nproc_per_node=1", "-m", "verl.trainer.sft_trainer"]
    command = " \\\n  ".join([shlex.join(words), *(shlex.quote(f"{name}={value}") for name, value in settings.items())])
    explanation = (
        "verl's own SFT data set reads messages, tokenises them itself and trains on whole assistant turns; it has no "
        f"column for a token mask. `{_CLASS_FILE}` in this directory is a data set class for `data.custom_cls` that "
        "reads tokens and mask as they are. It needs torch and datasets, nothing else. Where the data has weights, "
        "`loss_mask` holds them: verl multiplies each token's log-probability by it and divides by its sum."
    )
    source = Path(__file__).with_name(_CLASS_FILE).read_text(encoding="utf-8")
    return Setup(
        "verl-sft.sh", command + "\n", facts.command("bash", "verl-sft.sh"), explanation, {_CLASS_FILE: source}
    )
