"""Nothing of a directory is read in part without a word."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.errors import InputError
from asr_data.rows import open_source

LINE = '{"prompt": "p", "chosen": "a", "rejected": "b"}\n'
TABLE = pa.table({"prompt": ["p"], "chosen": ["a"], "rejected": ["b"]})


@pytest.fixture(autouse=True)
def _no_shared_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With ``a.jsonl`` in it."""
    made = tmp_path / "data"
    made.mkdir()
    (made / "a.jsonl").write_text(LINE)
    return made


def test_files_of_two_kinds_are_refused_by_name(folder: Path) -> None:
    pq.write_table(TABLE, folder / "b.parquet")
    with pytest.raises(InputError, match=r"not clear which files are meant: (a\.jsonl|b\.parquet) would") as refused:
        open_source(folder)
    assert {"a.jsonl", "b.parquet"} <= set(str(refused.value).replace(",", " ").split())


def test_a_name_that_looks_like_a_split_is_refused_beside_one_that_does_not(folder: Path) -> None:
    (folder / "my_test.jsonl").write_text(LINE)
    with pytest.raises(InputError, match=r"my_test\.jsonl would be read, and a\.jsonl would not"):
        open_source(folder)
    source = open_source(folder, split="test")
    assert source.rows == 1
    assert source.notes == ("split test: reading my_test.jsonl; not reading a.jsonl",)


def test_another_split_is_named(tmp_path: Path) -> None:
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).write_text(LINE)
    assert open_source(tmp_path).notes == ("split train: reading train.jsonl; not reading test.jsonl",)


@pytest.mark.parametrize("kind", ["link to nowhere", "link to itself", "pipe"])
def test_what_cannot_be_read_is_named(folder: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(folder / "b.jsonl")
    else:
        (folder / "b.jsonl").symlink_to("b.jsonl" if kind == "link to itself" else "nothing")
    with pytest.raises(InputError, match=r"b\.jsonl cannot be read"):
        open_source(folder)


def test_a_compressed_copy_is_refused(folder: Path) -> None:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(LINE.encode()))
    with pytest.raises(InputError, match=r"a\.jsonl"):
        open_source(folder)


def test_configs_of_a_card_decide(folder: Path) -> None:
    pq.write_table(TABLE, folder / "b.parquet")
    (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: a.jsonl\n---\n")
    source = open_source(folder)
    assert source.rows == 1
    assert source.notes == ("split train: reading a.jsonl; not reading b.parquet",)


def test_hidden_files_and_licences_are_not_meant(folder: Path) -> None:
    (folder / ".hidden.parquet").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git" / "c.parquet").write_bytes(b"x")
    (folder / "LICENSE.txt").write_text("free")
    source = open_source(folder)
    assert (source.rows, source.notes) == (1, ())


def test_a_json_array_is_data(folder: Path) -> None:
    (folder / "c.csv").write_text("prompt,chosen,rejected\np,a,b\n")
    (folder / "d.csv").write_text("prompt,chosen,rejected\np,a,b\n")
    (folder / "e.json").write_text("[]")
    with pytest.raises(InputError, match="not clear which files"):
        open_source(folder)


def test_saved_datasets_side_by_side_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        datasets.Dataset(TABLE).save_to_disk(str(tmp_path / "all" / name))
    with pytest.raises(InputError, match="saved datasets, one per folder; give one of them: one, two"):
        open_source(tmp_path / "all")


def test_an_empty_file_beside_others_has_no_rows(folder: Path) -> None:
    (folder / "b.jsonl").write_text("")
    assert open_source(folder).rows == 1
