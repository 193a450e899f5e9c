"""Features of ``datasets`` beyond Arrow types: kept, and class labels read as their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.errors import InputError, RowRejected
from asr_data.rows import detect, first_records, normalise, open_source, read_rows
from asr_data.rows.class_labels import split_verdicts, verdicts
from asr_data.rows.features import class_names, features_of, known_features, with_features
from asr_data.types import RejectedRow, Row

CLASSES = {"_type": "ClassLabel", "names": ["correct", "incorrect"]}
ROWS = {"prompt": ["p"] * 3, "completion": ["a", "b", "c"], "label": [0, 1, 0]}


def dataset(names: list[str], rows: dict[str, Any] = ROWS) -> datasets.Dataset:
    """Unpaired rows whose label is a class."""
    text = datasets.Value("string")
    features = {"prompt": text, "completion": text, "label": datasets.ClassLabel(names=names)}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def preferred(source: Any, columns: dict[str, str] | None = None) -> list[bool]:
    """Each row's verdict."""
    layout = detect(source.schema, first_records(source), columns)
    rows = [row for batch in read_rows(source, layout, 2) for row in batch]
    assert all(isinstance(row, Row) for row in rows)
    return [row.completions[0].preferred for row in rows if isinstance(row, Row)]


@pytest.mark.parametrize("form", ["memory", "saved", "parquet"])
def test_class_labels_that_do_not_say_what_is_preferred_are_refused(form: str, tmp_path: Path) -> None:
    given: Any = dataset(["correct", "incorrect"])
    if form == "saved":
        given.save_to_disk(str(tmp_path / "saved"))
    elif form == "parquet":
        given.to_parquet(str(tmp_path / "a.parquet"))
    source = open_source({"memory": given, "saved": tmp_path / "saved", "parquet": tmp_path / "a.parquet"}[form])
    with pytest.raises(InputError, match=r"correct \(0\), incorrect \(1\); say so with --columns label_true="):
        detect(source.schema, first_records(source))
    assert preferred(source, {"label_true": "correct"}) == [True, False, True]
    assert preferred(source, {"label_false": "correct"}) == [False, True, False]
    assert features_of(source.schema) == {"label": CLASSES}


def test_class_labels_that_are_plainly_true_or_false_are_read_by_their_names() -> None:
    assert preferred(open_source(dataset(["True", "False"]))) == [True, False, True]
    assert preferred(open_source(dataset(["false", "true"]))) == [False, True, False]


def test_of_three_classes_both_verdicts_are_named_and_the_third_is_rejected() -> None:
    source = open_source(dataset(["bad", "good", "unsure"], {**ROWS, "label": [0, 1, 2]}))
    with pytest.raises(InputError, match=r"bad \(0\), good \(1\), unsure \(2\)"):
        detect(source.schema, first_records(source), {"label_true": "good"})
    layout = detect(source.schema, first_records(source), {"label_true": "good", "label_false": "bad"})
    assert layout.describe().endswith("; preferred: good; not preferred: bad")
    bad, good, unsure = next(read_rows(source, layout, 3))
    assert isinstance(bad, Row)
    assert isinstance(good, Row)
    assert isinstance(unsure, RejectedRow)
    assert (bad.completions[0].preferred, good.completions[0].preferred) == (False, True)
    assert "'unsure', not one of good, bad" in unsure.message


def test_a_class_beyond_the_names_rejects_its_row() -> None:
    source = open_source(dataset(["false", "true"], {**ROWS, "label": [-1, 1, None]}))
    layout = detect(source.schema, first_records(source))
    absent, _, null = next(read_rows(source, layout, 3))
    assert isinstance(absent, RejectedRow)
    assert isinstance(null, RejectedRow)
    assert "is class -1, and has the classes false, true" in absent.message
    assert null.code == "missing_column"


def test_texts_mean_what_the_user_says(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": "p", "completion": "a", "label": "right"}\n{"prompt": "p", "completion": "b", "label": "wrong"}\n'
    )
    source = open_source(path)
    assert preferred(source, {"label_true": "right", "label_false": "wrong"}) == [True, False]
    with pytest.raises(InputError, match="to read them"):
        detect(source.schema, first_records(source), {"label_true": "right"})
    with pytest.raises(RowRejected, match="--columns label_true="):
        normalise(0, first_records(source)[0], detect(source.schema, first_records(source)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label_true": "a", "label_false": "a"}, "both label_true=a and label_false=a"),
        ({"label_true": "nice"}, "nice is not a class of column 'label'"),
    ],
)
def test_verdicts_that_cannot_be(given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        verdicts("label", {"label": ["a", "b"]}, split_verdicts(given)[1])


def test_a_class_is_no_number_of_a_preference(tmp_path: Path) -> None:
    rows = {"prompt": ["p"], "response1": ["a"], "response2": ["b"], "overall_preference": [0]}
    made = datasets.Dataset.from_dict(rows).cast_column("overall_preference", datasets.ClassLabel(names=["one", "two"]))
    source = open_source(made)
    with pytest.raises(InputError, match="'overall_preference' is string; a preference is a number"):
        detect(source.schema, first_records(source))


def test_files_that_disagree_on_classes_are_refused(tmp_path: Path) -> None:
    dataset(["a", "b"]).to_parquet(str(tmp_path / "train-0.parquet"))
    dataset(["b", "a"]).to_parquet(str(tmp_path / "train-1.parquet"))
    with pytest.raises(InputError, match=r"column 'label' has other features in .*train-0\.parquet than in .*train-1"):
        open_source(tmp_path)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_features_of_a_dataset_card_count(tmp_path: Path, form: str) -> None:
    table = pa.table(ROWS)
    if form == "parquet":
        pq.write_table(table, tmp_path / "train.parquet")
    else:
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    names = "      class_label:\n        names:\n          '0': 'true'\n          '1': 'false'\n"
    texts = "".join(f"  - name: {name}\n    dtype: string\n" for name in ("prompt", "completion"))
    card = f"---\ndataset_info:\n  features:\n{texts}  - name: label\n    dtype:\n{names}---\n"
    (tmp_path / "README.md").write_text(card)
    source = open_source(tmp_path)
    assert preferred(source) == [True, False, True]
    assert class_names(source.schema, "label") == ["true", "false"]


def test_class_names_are_part_of_what_the_input_is() -> None:
    one, two = open_source(dataset(["true", "false"])), open_source(dataset(["false", "true"]))
    assert one.fingerprint != two.fingerprint


def test_features_that_the_type_says_are_no_metadata() -> None:
    implied = {"a": {"dtype": "string", "_type": "Value"}, "b": {"feature": {"x": {"_type": "Value"}}, "_type": "List"}}
    schema = pa.schema([("a", pa.string()), ("b", pa.list_(pa.struct([("x", pa.int8())])))])
    assert with_features(schema, implied).metadata is None


@pytest.mark.parametrize("text", [b"", b"[]", b'{"info": 3}', b'{"info": {"features": [1]}}', b"[" * 100_000])
def test_metadata_that_is_no_table_of_features_says_nothing(text: bytes) -> None:
    assert features_of(pa.schema([("a", pa.int64())], metadata={b"huggingface": text})) == {}


def test_a_feature_that_datasets_does_not_know_is_left_out_with_a_line() -> None:
    text = json.dumps({"info": {"features": {"a": {"_type": "Hologram"}, "b": CLASSES}}})
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())], metadata={b"huggingface": text.encode()})
    kept, notes = known_features(schema)
    assert features_of(kept) == {"b": CLASSES}
    assert class_names(kept, "b") == ["correct", "incorrect"]
    assert len(notes) == 1
    assert notes[0].startswith("column 'a': its feature is unknown to datasets and is left out")
