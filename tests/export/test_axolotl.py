"""axolotl: its documented reading of both formats always, its own loader where it is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import load_dataset
from torch import Tensor

from asr_data.errors import ConfigError, InputError
from asr_data.export import export
from asr_data.losses import adaptive_rs_loss
from asr_data.storage import AnnotatedDirectory
from asr_data.text import Tokenizer
from tests.export.conftest import PAIRS, Workshop, columns, our_inputs, padded

IGNORED = -100


def segments(path: str = "out") -> list[list[dict[str, Any]]]:
    (file,) = Path(path).glob("train-*.jsonl")
    return [json.loads(line)["segments"] for line in file.read_text(encoding="utf-8").splitlines()]


def tokenised(row: list[dict[str, Any]], hf: Any) -> dict[str, list[int]]:
    """As documented for ``type: input_output``: texts tokenised one by one; only those labelled true are trained on."""
    read: dict[str, list[int]] = {"input_ids": [], "labels": []}
    for segment in row:
        ids = hf(segment["text"], add_special_tokens=False)["input_ids"]
        read["input_ids"] += ids
        read["labels"] += ids if segment["label"] else [IGNORED] * len(ids)
    return read


def loss_of(model: Any, rows: list[dict[str, Any]]) -> Tensor:
    """The model's own loss on one padded batch."""
    ids = padded([torch.tensor(row["input_ids"]) for row in rows])
    attention = padded([torch.ones(len(row["input_ids"]), dtype=torch.int64) for row in rows])
    labels = padded([torch.tensor(row["labels"]) - IGNORED for row in rows]) + IGNORED
    return model(input_ids=ids, attention_mask=attention, labels=labels).loss


def our_loss(model: Any, annotated: AnnotatedDirectory) -> Tensor:
    return adaptive_rs_loss(*our_inputs(model, columns(annotated), "chosen"))


def test_tokenised_columns_and_loss(annotated: AnnotatedDirectory, model: Any) -> None:
    done = export(annotated, "axolotl-sft", Path("out"))
    (source,) = yaml.safe_load(done.setup.text)["datasets"]
    assert "type" not in source
    rows = load_dataset(source["ds_type"], data_files=source["path"], split=source["split"])
    assert rows.column_names == ["input_ids", "attention_mask", "labels"]
    assert loss_of(model, list(rows)).item() == pytest.approx(our_loss(model, annotated).item(), abs=1e-6)


def test_segments_and_loss(annotated: AnnotatedDirectory, workshop: Workshop, model: Any) -> None:
    export(annotated, "axolotl-sft", Path("tokens"))
    export(annotated, "axolotl-segments", Path("out"), tokenizer=workshop.tokenizer)
    tokens = load_dataset("tokens", split="train")
    read = [tokenised(row, workshop.tokenizer.hf) for row in segments()]
    assert read == [{name: row[name] for name in ("input_ids", "labels")} for row in tokens]
    assert {segment["label"] for row in segments() for segment in row} == {True, False}
    assert loss_of(model, read).item() == pytest.approx(our_loss(model, annotated).item(), abs=1e-6)


def test_texts_that_give_other_tokens_are_left_out(workshop: Workshop) -> None:
    """The mask is cut inside the emoji: no text gives one of its bytes, so this row cannot be had in this format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    annotated = workshop.annotate(PAIRS)
    (path,) = (annotated.path / "data").iterdir()
    table = pq.read_table(path)
    rows = table.to_pylist()
    pieces = workshop.tokenizer.hf.convert_ids_to_tokens(rows[1]["chosen_ids"])
    inside = next(place for place, piece in enumerate(pieces) if "ð" in piece)  # the byte F0, in GPT-2's table
    rows[1]["chosen_mask"] = [place <= inside for place in range(len(pieces))]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    changed = AnnotatedDirectory(annotated.path, annotated.manifest, verify=False)
    done = export(changed, "axolotl-segments", Path("out"), tokenizer=workshop.tokenizer)
    assert (done.examples, done.left_out) == (3, {"text_differs": 1})
    assert json.loads(Path("out/notes.jsonl").read_text(encoding="utf-8")) == {
        "asr_row": 1,
        "side": "chosen",
        "code": "text_differs",
    }


@pytest.mark.parametrize("kind", ["metaspace_bpe", "metaspace_unigram"])
def test_tokenizers_that_put_a_space_before_every_text_are_found_out(
    workshop: Workshop, make_tokenizer: Callable[..., Any], kind: str
) -> None:
    """A stretch that starts inside a word or after a special token has no text of its own there."""
    workshop.tokenizer = make_tokenizer(kind)
    annotated = workshop.annotate(PAIRS)
    with pytest.raises(InputError, match=r"no row can be exported; left out: text_differs 4$"):
        export(annotated, "axolotl-segments", Path("out"), tokenizer=workshop.tokenizer)
    assert export(annotated, "axolotl-sft", Path("out")).examples == 4


def test_segments_need_the_tokenizer_of_the_masks(
    annotated: AnnotatedDirectory, make_tokenizer: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match="--tokenizer"):
        export(annotated, "axolotl-segments", Path("out"))
    with pytest.raises(ConfigError, match="which the masks are for"):
        export(annotated, "axolotl-segments", Path("out"), tokenizer=Tokenizer(make_tokenizer("nfkc").hf, "other"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", ["axolotl-sft", "axolotl-segments"])
def test_its_own_loader_and_collator_give_our_loss(
    annotated: AnnotatedDirectory, workshop: Workshop, model: Any, target: Any
) -> None:
    pytest.importorskip("axolotl", reason="needs axolotl 0.19: pip install axolotl, in an environment of its own")
    from axolotl.utils.collators.batching import DataCollatorForSeq2Seq
    from axolotl.utils.data.sft import _load_raw_datasets
    from axolotl.utils.dict import DictDefault

    done = export(annotated, target, Path("out"), tokenizer=workshop.tokenizer)
    settings = DictDefault(
        {**yaml.safe_load(done.setup.text), "dataset_num_proc": 1, "dataset_prepared_path": "prepared"}
    )
    rows, _ = _load_raw_datasets(settings, settings.datasets, workshop.tokenizer.hf, "train")
    batch = DataCollatorForSeq2Seq(workshop.tokenizer.hf, pad_to_multiple_of=16)(list(rows))
    assert model(**batch).loss.item() == pytest.approx(our_loss(model, annotated).item(), abs=1e-6)
