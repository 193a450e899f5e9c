"""LLaMA-Factory: what its own processors would save under ``tokenized_path``, with our masks in the labels.

Its DPO and KTO trainers sum log-probabilities where a label is not −100, so labels are all they need. Cutting has to be
done here, since ``cutoff_len`` is not looked at for tokenised data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

import pyarrow as pa

from asr_data.export.examples import Cutter, RowResponses, read_rows
from asr_data.export.formats import Example, ExportFormat, Facts, Setup
from asr_data.export.labels import LABELLED, labelled, preferred_labelled
from asr_data.storage import AnnotatedDirectory

_MEDIA: Final = ("images", "videos", "audios")
_NO_MEDIA: Final[Example] = dict.fromkeys(_MEDIA)
_MEDIA_COLUMNS: Final[list[tuple[str, pa.DataType]]] = [(name, pa.null()) for name in _MEDIA]
_FILE: Final = "train/data-00000-of-00001.arrow"


def dpo() -> ExportFormat:
    """Stage ``dpo``: both sides with labels."""
    columns = [(f"{side}_{name}", kind) for side in ("chosen", "rejected") for name, kind in LABELLED]
    setting = "pref_beta: 0.1\npref_loss: sigmoid\n"
    return ExportFormat(
        _FILE, pa.schema(columns + _MEDIA_COLUMNS), _pairs, lambda facts: _setup(facts, "dpo", setting), pairs=True
    )


def kto() -> ExportFormat:
    """Stage ``kto``: each response with its verdict, and an answer to another prompt for the KL estimate."""
    columns = [*LABELLED, *((f"kl_{name}", kind) for name, kind in LABELLED), ("kto_tags", pa.bool_())]
    return ExportFormat(
        _FILE, pa.schema(columns + _MEDIA_COLUMNS), _judged, lambda facts: _setup(facts, "kto", "pref_beta: 0.1\n")
    )


def sft() -> ExportFormat:
    """Stage ``sft``: the preferred responses."""
    return ExportFormat(_FILE, pa.schema(LABELLED + _MEDIA_COLUMNS), _preferred, lambda facts: _setup(facts, "sft", ""))


def _pairs(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[Example]:
    for chosen, rejected in read_rows(annotated):
        first, second = cutter.sequence(chosen), cutter.sequence(rejected)
        if first is not None and second is not None:
            yield {**labelled(first, "chosen_"), **labelled(second, "rejected_"), **_NO_MEDIA}


def _preferred(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[Example]:
    for record in preferred_labelled(annotated, cutter):
        yield {**record, **_NO_MEDIA}


def _judged(annotated: AnnotatedDirectory, cutter: Cutter) -> Iterator[Example]:
    """Pairs each prompt with the response of the row before it: mismatched, as the KL estimate of KTO wants it.

    The first row has none before it and takes the one after it. Pairs of one input row share their prompt: they take
    that of the input row before. The KL sequence keeps its own mask, so that the estimate and the rewards that it is
    compared with are sums over the same kind of tokens.
    """
    before: RowResponses | None = None
    by_row = ([*pairs] for _, pairs in groupby(read_rows(annotated), key=lambda responses: responses[0].row))
    for pairs, after in _with_next(by_row):
        for pair in pairs:
            others = before or (pair if after is None else after[0])
            for place, response in enumerate(pair):
                sequence = cutter.sequence(response)
                if sequence is None:
                    continue
                mismatched, _ = cutter.joined(response.prompt, others[place])
                yield {
                    **labelled(sequence),
                    **labelled(mismatched, "kl_"),
                    "kto_tags": response.preferred,
                    **_NO_MEDIA,
                }
        before = pairs[-1]


def _with_next(rows: Iterable[list[RowResponses]]) -> Iterator[tuple[list[RowResponses], list[RowResponses] | None]]:
    current: list[RowResponses] | None = None
    for row in rows:
        if current is not None:
            yield current, row
        current = row
    if current is not None:
        yield current, None


def _setup(facts: Facts, stage: str, settings: str) -> Setup:
    text = f"""\
model_name_or_path: {json.dumps(facts.model)}
stage: {stage}
do_train: true
finetuning_type: lora
dataset: asr-data  # required, but not read: any name
tokenized_path: {json.dumps(str(facts.path))}
{settings}output_dir: saves/asr-{stage}
"""
    name = f"llamafactory-{stage}.yaml"
    explanation = (
        "With `tokenized_path`, LLaMA-Factory uses the tokens as they are here and ignores `template` and `cutoff_len`."
    )
    if stage == "dpo":
        explanation += (
            " `pref_loss: sigmoid` is ADPO; `hinge` and `ipo` read the labels in the same way. Leave `ld_alpha` "
            "unset: it counts positions from the first token that is trained on."
        )
    if stage == "kto":
        explanation += (
            " The KL estimate comes from the prompt of each row with the response of the row before, over that "
            "response's own mask."
        )
    return Setup(name, text, facts.command("llamafactory-cli train", name), explanation)
