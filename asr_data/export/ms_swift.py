"""ms-swift: the whole sequence as the tokens of one assistant message, each with its ``loss_scale``.

ms-swift tokenises when it trains, and joins text of equal scale before it does, so that texts would not give our
tokens. A message whose content is ``{"token_ids": …, "loss_scale": …}`` is taken as it is: ms-swift's own way to keep
what a rollout sampled (``swift.loss_scale.base``, 4.6). Its templates would put text around it and train on an end that
a mask leaves out, so a template that does neither comes with the export.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from asr_data.export.examples import Cutter
from asr_data.export.formats import Example, ExportFormat, Facts, Setup
from asr_data.export.labels import preferred_sequences
from asr_data.storage import AnnotatedDirectory

_TEMPLATE_FILE: Final = "ms_swift_template.py"
_CONTENT: Final = pa.struct([("token_ids", pa.list_(pa.int32())), ("loss_scale", pa.list_(pa.float32()))])
_MESSAGE: Final = pa.struct([("role", pa.string()), ("content", _CONTENT)])


def sft(*, weights: bool = False) -> ExportFormat:
    """The preferred responses; with ``weights``, ``loss_scale`` has them, and ms-swift divides by the kept tokens."""
    columns: list[tuple[str, pa.DataType]] = [("messages", pa.list_(_MESSAGE)), ("lengths", pa.list_(pa.int64()))]
    return ExportFormat(
        "train/data-00000-of-00001.arrow", pa.schema(columns), _records, lambda facts: _setup(facts, weights=weights)
    )


def _records(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[Example]:
    for _, sequence in preferred_sequences(annotated, cutter):
        content = {"token_ids": sequence.ids, "loss_scale": sequence.weights}
        yield {"messages": [{"role": "assistant", "content": content}], "lengths": [len(sequence.ids)]}


def _setup(facts: Facts, *, weights: bool) -> Setup:
    name = "ms-swift-sft.yaml"
    binary = "# By default only whether a scale is 0 counts.\nis_binary_loss_scale: false\n" if weights else ""
    text = f"""\
model: {json.dumps(facts.model)}
cached_dataset: {json.dumps(str(facts.data.parent))}
external_plugins: {json.dumps(str(facts.path / _TEMPLATE_FILE))}
template: asr-tokens
{binary}max_length: {facts.longest}
tuner_type: lora
lora_rank: 16
lora_alpha: 32
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
num_train_epochs: 1
learning_rate: 1e-5
output_dir: outputs/asr-sft
"""
    explanation = (
        f"Each row is one message of token ids with a `loss_scale` each; `{_TEMPLATE_FILE}` in this directory "
        "registers the template that adds nothing to them. Rows longer than `max_length` would be dropped, so it is "
        "the longest sequence here. Where the data has weights, `loss_scale` holds them: ms-swift multiplies each "
        "token's loss by it and divides by the number of tokens whose scale is above 0, not by the sum of the scales. "
        "Its DPO and KTO do not look at `loss_scale`. Checked with ms-swift 4.6."
    )
    source = Path(__file__).with_name(_TEMPLATE_FILE).read_text(encoding="utf-8")
    return Setup(name, text, facts.command("swift sft", name), explanation, {_TEMPLATE_FILE: source})
