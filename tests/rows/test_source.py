from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.errors import InputError
from asr_data.rows import Source, first_records, open_source

RECORDS = [{"prompt": f"p{n}", "chosen": f"c{n}", "rejected": f"r{n}"} for n in range(5)]
TABLE = pa.Table.from_pylist(RECORDS)


@pytest.fixture(autouse=True)
def _no_shared_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def records(source: Source, size: int = 2, start: int = 0, stop: int | None = None) -> list[Any]:
    return [row for batch in source.batches(size, start, stop) for row in batch]


def write(directory: Path, form: str) -> Path:
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    path = directory / f"data.{form}"
    match form:
        case "jsonl":
            path.write_text(lines)
        case "jsonl.gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case "jsonl.bz2":
            path.write_bytes(bz2.compress(lines.encode()))
        case "json.xz":
            path.write_bytes(lzma.compress(json.dumps(RECORDS).encode()))
        case "ndjson.zst":
            with pa.CompressedOutputStream(str(path), "zstd") as file:
                file.write(lines.encode())
        case "tsv":
            path.write_text("prompt\tchosen\trejected\n" + "".join("\t".join(r.values()) + "\n" for r in RECORDS))
        case "json":
            path.write_text(json.dumps(RECORDS))
        case "csv":
            path.write_text("prompt,chosen,rejected\n" + "".join(",".join(r.values()) + "\n" for r in RECORDS))
        case "parquet":
            pq.write_table(TABLE, path)
        case "arrow":
            with pa.ipc.new_stream(str(path), TABLE.schema) as writer:
                writer.write_table(TABLE)
        case "saved":
            datasets.Dataset(TABLE).save_to_disk(str(path))
        case "directory":
            path.mkdir()
            pq.write_table(TABLE.slice(0, 2), path / "train-00000.parquet")
            pq.write_table(TABLE.slice(2), path / "train-00001.parquet")
    return path


FORMS = [
    *("jsonl", "jsonl.gz", "jsonl.bz2", "json.xz", "ndjson.zst", "json", "csv", "tsv"),
    *("parquet", "arrow", "saved", "directory"),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    source = open_source(str(write(tmp_path, form)))
    assert source.rows == 5
    assert source.schema == TABLE.schema
    assert records(source) == list(enumerate(RECORDS))
    assert records(source, start=1, stop=4) == list(enumerate(RECORDS))[1:4]
    assert [len(batch) for batch in source.batches(2)] == [2, 2, 1]
    assert first_records(source, 3) == RECORDS[:3]


@pytest.mark.parametrize("form", FORMS)
def test_fingerprint_is_of_the_content(tmp_path: Path, form: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    first = open_source(write(tmp_path, form)).fingerprint
    assert len(first) == 64
    assert open_source(write(tmp_path / "elsewhere", form)).fingerprint == first


def test_dataset_in_memory() -> None:
    dataset = datasets.Dataset(TABLE)
    source = open_source(dataset)
    assert records(source) == list(enumerate(RECORDS))
    assert open_source(datasets.Dataset.from_list(RECORDS)).fingerprint == source.fingerprint
    changed = datasets.Dataset.from_list([*RECORDS[:-1], {**RECORDS[-1], "chosen": "other"}])
    assert open_source(changed).fingerprint != source.fingerprint
    assert records(open_source(dataset.select([3, 1]))) == [(0, RECORDS[3]), (1, RECORDS[1])]


def test_splits(tmp_path: Path) -> None:
    two = datasets.DatasetDict(valid=datasets.Dataset(TABLE), test=datasets.Dataset(TABLE.slice(4)))
    two.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "files").mkdir()
    for split, table in [("validation", TABLE), ("test", TABLE.slice(4))]:
        pq.write_table(table, tmp_path / "files" / f"{split}.parquet")
    for directory in ("saved", "files"):
        assert open_source(tmp_path / directory, split="test").rows == 1
        with pytest.raises(InputError, match=r"valid.*--split|--split.*valid"):
            open_source(tmp_path / directory)
        with pytest.raises(InputError, match="no split 'dev'; there are"):
            open_source(tmp_path / directory, split="dev")
    pq.write_table(TABLE, tmp_path / "files" / "train.parquet")
    assert "split train" in open_source(tmp_path / "files").description


def test_configs_of_a_dataset_card(tmp_path: Path) -> None:
    for name, table in [("data", TABLE), ("scores", TABLE.slice(4))]:
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "train-00000.parquet")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- {config_name: default, data_files: data/*}\n"
        "- {config_name: scores, data_files: scores/*}\n---\n"
    )
    assert open_source(tmp_path).rows == 5
    assert open_source(tmp_path, name="scores").rows == 1
    with pytest.raises(InputError, match="scores"):
        open_source(tmp_path, name="nope")


def test_unhelpful_locations(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "empty.csv").write_text("a,b\n")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "directory").mkdir()
    pq.write_table(TABLE.slice(5), tmp_path / "empty.parquet")
    for name, message in [
        ("empty.jsonl", "no rows"),
        ("empty.json", "no rows"),
        ("empty.csv", "no rows"),
        ("empty.parquet", "no rows"),
        ("notes.txt", r"unknown suffix; allowed are \.parquet"),
        ("broken.parquet", "broken.parquet"),
        ("directory", "directory"),
        ("missing.parquet", "no such file"),
        ("missing", "no such file"),
    ]:
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / name)
    with pytest.raises(InputError, match="--split"):
        open_source(tmp_path / "empty.jsonl", split="train")


@pytest.mark.parametrize("location", ["data", "missing/data.parquet", "./here"])
def test_what_is_no_hub_id_is_a_missing_file(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match="no such file"):
        open_source(location)


def test_hub_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load(repository: str, **options: Any) -> Any:
        calls.append((repository, options))
        loaded = datasets.DatasetDict(train=datasets.Dataset(TABLE))
        return loaded[options["split"]] if options["split"] else loaded

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert open_source("owner/name", name="part", revision="main").rows == 5
    assert calls == [("owner/name", {"name": "part", "split": None, "revision": "main"})]
    assert "owner/name (split train)" in open_source("owner/name", split="train").description


def test_hub_failure_says_that_nothing_is_here_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(InputError, match=r"owner/name: no such file or directory here.*offline"):
        open_source("owner/name")


def test_damaged_saved_dataset(tmp_path: Path) -> None:
    path = write(tmp_path, "saved")
    (path / "state.json").write_text("{}")
    with pytest.raises(InputError, match="saved dataset"):
        open_source(path)
    shutil.rmtree(path)
    with pytest.raises(InputError, match="DatasetDict"):
        open_source(datasets.DatasetDict())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"prompt": "q"\n{', "no row can be read; row 0: invalid_json, line 1 is not valid JSON: "),
        ("b.jsonl", "[1]\n", "b.jsonl: no row can be read; row 0: "),
    ],
)
def test_a_file_of_which_no_row_can_be_read_says_why(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as refused:
        first_records(open_source(tmp_path / name))
    assert message in str(refused.value)
