"""In memory, the columns are those of the files."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

import asr_data
from asr_data.config import MaskConfig
from asr_data.errors import ConfigError, InputError


def test_annotate_gives_the_rows_and_columns_of_the_files(bench: Any, pairs: Any) -> None:
    dataset = datasets.Dataset.from_list(pairs)
    settings = MaskConfig.model_validate({"segmenter": {"kind": "optimal"}, "baseline": {"kind": "dataset"}})
    annotated = asr_data.annotate(dataset, bench.scorer, bench.tokenizer, mask=settings)
    bench.run(pairs, mask=settings)
    files = datasets.load_dataset(str(bench.folder / "out"), split="train", cache_dir=str(bench.folder / "cache"))
    assert annotated.features == files.features
    without_run = [{k: v for k, v in row.items() if k != "asr_run"} for row in files]
    assert [{k: v for k, v in row.items() if k != "asr_run"} for row in annotated] == without_run


def test_the_scorers_tokenizer_is_the_default_and_columns_can_be_named(bench: Any) -> None:
    dataset = datasets.Dataset.from_dict({"q": ["What?"], "good": ["That one."], "bad": ["This."], "asr_row": ["a"]})
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    with pytest.raises(ConfigError, match="--prefix"):
        asr_data.annotate(dataset, bench.scorer, columns=columns)
    (row,) = asr_data.annotate(dataset, bench.scorer, columns=columns, prefix="x_")
    assert (row["asr_row"], row["x_asr_row"]) == ("a", 0)


def test_nothing_annotated_and_no_tokenizer_are_errors(bench: Any, pairs: Any) -> None:
    with pytest.raises(InputError, match=r"none of the 1 rows.*identical_sides"):
        asr_data.annotate(datasets.Dataset.from_list(pairs[3:4]), bench.scorer)
    bench.scorer.tokenizer = None
    with pytest.raises(InputError, match="tokenizer="):
        asr_data.annotate(datasets.Dataset.from_list(pairs), bench.scorer)
