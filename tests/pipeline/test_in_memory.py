"""In memory, the columns are those of the files."""

from __future__ import annotations

from typing import Any

import datasets
import pandas as pd
import polars as pl
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


TEXTS = [
    {"prompt": f"q {n}", "chosen": f"Yes, {n} it is.", "rejected": "" if n == 1 else f"No, {n}.", "topic": "ab"[n % 2]}
    for n in range(4)
]
"""The second is rejected: a response is empty."""


def of(rows: list[dict[str, Any]], annotated: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotated rows without what differs from run to run, once their input columns were compared."""
    assert [{name: row[name] for name in rows[0]} for row in annotated] == [rows[row["asr_row"]] for row in annotated]
    return [{name: value for name, value in row.items() if name != "asr_run"} for row in annotated]


def test_frames_and_lists_come_back_as_what_they_were(bench: Any) -> None:
    expected = of(TEXTS, asr_data.annotate(datasets.Dataset.from_list(TEXTS), bench.scorer).to_list())
    assert [row["asr_row"] for row in expected] == [0, 2, 3]
    listed = asr_data.annotate(TEXTS, bench.scorer)
    assert isinstance(listed, list)
    assert of(TEXTS, listed) == expected
    polars = asr_data.annotate(pl.DataFrame(TEXTS), bench.scorer)
    assert isinstance(polars, pl.DataFrame)
    assert polars.schema["chosen_mask"] == pl.List(pl.Boolean)
    assert of(TEXTS, polars.to_dicts()) == expected
    pandas = asr_data.annotate(pd.DataFrame(TEXTS, index=[40, 30, 20, 10]), bench.scorer)
    assert isinstance(pandas, pd.DataFrame)
    assert pandas.index.tolist() == [40, 20, 10]
    assert pandas["asr_row"].tolist() == [0, 2, 3]
    assert [list(mask) for mask in pandas["chosen_mask"]] == [row["chosen_mask"] for row in expected]


def test_polars_own_types_are_taken(bench: Any) -> None:
    frame = pl.DataFrame(TEXTS).with_columns(
        pl.col("topic").cast(pl.Categorical), pl.col("prompt").cast(pl.Enum([row["prompt"] for row in TEXTS]))
    )
    frame = frame.with_columns(tags=pl.Series([["x"], [], None, ["y", "z"]]), day=pl.date(2024, 1, 2))
    found = asr_data.annotate(frame, bench.scorer)
    assert found["topic"].to_list() == ["a", "a", "b"]
    assert found["tags"].to_list() == [["x"], None, ["y", "z"]]
    assert str(found["day"][0]) == "2024-01-02"


def test_a_condition_selects_rows_of_any_of_them(bench: Any) -> None:
    for rows in (TEXTS, pl.DataFrame(TEXTS), datasets.Dataset.from_list(TEXTS)):
        found = asr_data.annotate(rows, bench.scorer, where="topic = 'a'")
        assert [row["asr_row"] for row in (found.to_dicts() if isinstance(found, pl.DataFrame) else found)] == [0, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there are no rows"),
        ([TEXTS[0], "text"], "row 1 is str, not a dictionary"),
        ([TEXTS[0], {**TEXTS[1], "topic": 3}], "mixes types"),
        (pl.DataFrame(TEXTS).clear(), "there are no rows"),
        (pl.LazyFrame(TEXTS), r"collect\(\) a LazyFrame first"),
        (pd.DataFrame({"prompt": ["a", 1], "chosen": ["b", "c"], "rejected": ["d", "e"]}), "no Arrow type"),
        ({"train": 1}, "expected a datasets.Dataset, a polars or pandas DataFrame, or a list"),
        (datasets.DatasetDict(), "give one split"),
    ],
)
def test_other_rows_are_refused(bench: Any, rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        asr_data.annotate(rows, bench.scorer)
