from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import pyarrow as pa
import pytest

from asr_data.storage import InputRecord, load_manifest
from asr_data.storage.card import dataset_card, escaped


@pytest.fixture(autouse=True)
def no_progress_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def load(path: Any, cache: Any, name: str | None = None) -> datasets.Dataset:
    return datasets.load_dataset(str(path), name, split="train", cache_dir=str(cache))


def test_each_config_loads_with_the_contract_as_features(write: Any, rows: Any, schemas: Any, tmp_path: Any) -> None:
    path = write()
    for config, name in (("data", None), ("scores", "scores"), ("rejects", "rejects")):
        loaded = load(path, tmp_path / "cache", name)
        assert loaded.features == datasets.Features.from_arrow_schema(schemas[config])
        assert loaded.features.arrow_schema.equals(schemas[config])
        assert loaded.to_list() == rows[config]


def test_the_card_and_not_the_files_gives_the_features(write: Any, schemas: Any, tmp_path: Any) -> None:
    builder = datasets.load_dataset_builder(str(write()), cache_dir=str(tmp_path / "cache"))
    assert builder.info.features.arrow_schema.equals(schemas["data"])
    assert builder.info.splits["train"].num_examples == 2


@pytest.mark.parametrize(
    ("empty", "listed"),
    [
        (["rejects"], ["default", "scores"]),
        (["data", "scores"], ["rejects"]),
        ([], ["default", "scores", "rejects"]),
    ],
)
def test_what_the_card_lists_opens(write: Any, rows: Any, tmp_path: Any, empty: list[str], listed: list[str]) -> None:
    for config in empty:
        rows[config] = []
    path = write()
    assert datasets.get_dataset_config_names(str(path)) == listed
    for name in listed:
        assert load(path, tmp_path / "cache", name).num_rows > 0


def test_the_card_says_that_no_row_was_rejected(write: Any, rows: Any) -> None:
    rows["rejects"] = []
    card = (write(counts={"rows": 3, "annotated": 2, "rejected": 0}) / "README.md").read_text()
    assert "No row was rejected, so there is no config `rejects`." in card


def test_datasets_checks_the_row_count_of_the_card(write: Any, tmp_path: Any) -> None:
    path = write()
    card = (path / "README.md").read_text()
    assert card.count("num_examples: 2") == 2
    (path / "README.md").write_text(card.replace("num_examples: 2", "num_examples: 3"))
    with pytest.raises(datasets.exceptions.DatasetsError):
        load(path, tmp_path / "cache")


def test_the_card_has_counts_settings_and_columns(write: Any, schemas: Any) -> None:
    manifest = load_manifest(write())
    card = dataset_card(manifest, schemas["data"])
    assert "| annotated | 2 | config `default` |" in card
    assert r"| rejected: empty\_prompt | 1 | the prompt is empty |" in card
    assert r"| chosen\_mask | list&lt;item\: bool&gt; |" in card
    assert '"kind": "optimal"' in card
    assert 'row["prompt_ids"] + row["chosen_ids"]' in card
    assert "license:" not in card
    assert all(len(line) < 400 for line in card.splitlines())


def test_the_snippet_runs(write: Any, schemas: Any, tmp_path: Any) -> None:
    path = write()
    card = (path / "README.md").read_text()
    snippet = card.split("```python\n")[1].split("```")[0].replace('"DIR"', repr(str(path)))
    snippet = snippet.replace("split=", f"cache_dir={str(tmp_path / 'cache')!r}, split=")
    variables: dict[str, Any] = {}
    exec(snippet, variables)  # noqa: S102 - our own text
    assert variables["input_ids"] == [1, 2, 5, 6, 7, 8]
    assert variables["labels"] == [-100, -100, 5, 6, -100, -100]


def test_the_snippet_leaves_out_what_is_not_there(write: Any, schemas: Any) -> None:
    manifest = load_manifest(write()).model_copy(update={"stage": "scored", "mask": None, "tokenizer": None})
    card = dataset_card(manifest, schemas["data"])
    assert "asr-annotate mask DIR" in card
    assert "```python" not in card


def test_values_of_the_data_set_cannot_become_markup(write: Any, schemas: Any) -> None:
    manifest = load_manifest(write())
    hostile = "<script>x</script> | [a](http://b) \n# title\n---\n`${x}` {{ 1 + 1 }}"
    source = InputRecord.model_validate(
        manifest.input.model_dump() | {"description": hostile, "license": "mit\ntags: [x]", "layout": hostile}
    )
    card = dataset_card(manifest.model_copy(update={"input": source}), schemas["data"])
    body = card.split("\n---\n", 1)[1]
    for markup in ("<script", "[a](", "\n# title", "\n---\n", "{{ 1"):
        assert markup not in body
    header = card.split("\n---\n", 1)[0]
    assert "\ntags: [x]" not in header


def test_escaped_by_hand() -> None:
    assert escaped("a|b\n<c> [d](e)\x00\u202e") == r"a\|b &lt;c&gt; \[d\]\(e\)"
    assert escaped(3) == "3"


def test_nested_and_large_input_types_become_features(write: Any) -> None:
    manifest = load_manifest(write())
    schema = pa.schema([("texts", pa.large_list(pa.string())), ("score", pa.float64())])
    card = dataset_card(manifest, schema)
    assert "large_list: string" in card
