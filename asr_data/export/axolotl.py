"""axolotl: tokenised rows with labels, or text cut into stretches that are trained on or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from asr_data.export.examples import Cutter, TokenSequence
from asr_data.export.formats import Example, ExportFormat, Facts, Setup
from asr_data.export.labels import LABELLED, preferred_labelled, preferred_sequences
from asr_data.storage import AnnotatedDirectory
from asr_data.text import Tokenizer

_SEGMENT: Final = pa.struct([("label", pa.bool_()), ("text", pa.string())])


def sft() -> ExportFormat:
    """Tokenised rows: axolotl takes them as they are where the data set has no ``type``."""
    explanation = "axolotl takes rows with exactly these three columns as tokenised. Do not give them a `type`."
    return ExportFormat(
        "data/train.parquet",
        pa.schema(LABELLED),
        preferred_labelled,
        lambda facts: _setup(facts, "axolotl-sft.yaml", "    ds_type: parquet\n", explanation),
    )


def segments(tokenizer: Tokenizer) -> ExportFormat:
    """``type: input_output``: axolotl tokenises every text by itself and labels those that say so.

    Args:
        tokenizer: the policy's; rows whose texts it would not tokenise back to their tokens are left out.
    """
    explanation = (
        "axolotl tokenises each text by itself, without special tokens, and joins the tokens. Every text here was "
        "checked to give its tokens again. Where `axolotl-sft` will do, prefer it: it leaves no row out."
    )
    settings = "    ds_type: json\n    type: input_output\n"
    return ExportFormat(
        "train.jsonl",
        pa.schema([("segments", pa.list_(_SEGMENT))]),
        lambda annotated, cutter: _segmented(annotated, cutter, tokenizer.hf),
        lambda facts: _setup(facts, "axolotl-segments.yaml", settings, explanation),
    )


def _segmented(annotated: AnnotatedDirectory, cutter: Cutter, hf: Any) -> Iterator[Example]:
    for response, sequence in preferred_sequences(annotated, cutter):
        found = _segments(sequence, hf)
        if found is None:
            cutter.notes.leave_out(response.row, response.side, "text_differs", pair=response.pair)
        else:
            yield {"segments": found}


def _segments(sequence: TokenSequence, hf: Any) -> list[dict[str, Any]] | None:
    """Stretches of one mask value as texts; None where some tokens are no text's."""
    starts = np.flatnonzero(np.diff(sequence.mask, prepend=~sequence.mask[:1]))
    found: list[dict[str, Any]] = []
    for start, ids in zip(starts, np.split(sequence.ids, starts[1:]), strict=True):
        texts = _texts(ids.tolist(), hf)
        if texts is None:
            return None
        found += [{"label": bool(sequence.mask[start]), "text": text} for text in texts]
    return found


def _texts(ids: list[int], hf: Any) -> list[str] | None:
    """Texts that give these tokens, each tokenised by itself: one if that is enough, else halves of halves."""
    text = hf.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if hf(text, add_special_tokens=False)["input_ids"] == ids:
        return [text]
    if len(ids) == 1:
        return None
    half = len(ids) // 2
    first = _texts(ids[:half], hf)
    second = None if first is None else _texts(ids[half:], hf)
    return None if first is None or second is None else first + second


def _setup(facts: Facts, name: str, settings: str, explanation: str) -> Setup:
    text = f"""\
base_model: {json.dumps(facts.model)}
datasets:
  - path: {json.dumps(str(facts.data))}
{settings}    split: train
train_on_inputs: false
sequence_len: {facts.longest}
adapter: lora
lora_r: 16
lora_alpha: 32
lora_target_linear: true
micro_batch_size: 1
gradient_accumulation_steps: 8
num_epochs: 1
learning_rate: 1e-5
output_dir: outputs/asr-sft
"""
    explanation += " Rows longer than `sequence_len` would be dropped, so it is the longest sequence here."
    return Setup(name, text, facts.command("axolotl train", name), explanation)
