from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from asr_data.errors import ConfigError, InputError
from asr_data.rows import open_source
from asr_data.rows.file_formats import ALLOWED_SUFFIXES, FileFormat, format_of_name, named_format

LINES = b'{"a": 1}\n' * 9_999


def zstandard(data: bytes) -> bytes:
    """Compressed by zstd."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_rows_of_a_file_in_two_parts(tmp_path: Path, suffix: str) -> None:
    """Compressed files may be joined by ``cat``; the second part must not be lost."""
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(COMPRESS[suffix](LINES) + COMPRESS[suffix](b'{"a": 2}'))
    source = open_source(path)
    assert source.rows == 10_000
    assert [*source.batches(1, 9_999)] == [[(9_999, {"a": 2})]]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"no such format"])
def test_damaged_and_cut_files_are_named(tmp_path: Path, suffix: str, damage: object) -> None:
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(damage(COMPRESS[suffix](LINES)))  # type: ignore[operator] # a function
    with pytest.raises(InputError, match=rf"a\.jsonl\.{suffix}: cannot be read: "):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.JSONL", FileFormat("jsonl")),
        ("a.b.csv.zst", FileFormat("csv", "zst")),
        ("a.parquet", FileFormat("parquet")),
        ("a.parquet.gz", None),  # Parquet compresses by itself, and cannot be read as a stream
        ("a.gz", None),
        ("jsonl", None),
        ("a", None),
    ],
)
def test_what_a_name_says(name: str, found: FileFormat | None) -> None:
    assert format_of_name(name) == found


def test_every_allowed_suffix_is_known() -> None:
    assert len(ALLOWED_SUFFIXES) == 7 + 5 * 4
    assert all(format_of_name(f"a{suffix}") for suffix in ALLOWED_SUFFIXES)


def test_the_user_says_what_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(gzip.compress(b"a\tb\n1\t2\n"))
    source = open_source(path, file_format="tsv.gz")
    assert [*source.batches(1)] == [[(0, {"a": "1", "b": "2"})]]
    assert named_format(".jsonl") == FileFormat("jsonl")


@pytest.mark.parametrize("text", ["", "txt", "parquet.gz", "gz", "jsonl.zip"])
def test_formats_that_do_not_exist(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"--format is .*: allowed are parquet, arrow, jsonl"):
        open_source(tmp_path / "a.jsonl", file_format=text)


def test_a_directory_has_no_format(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        open_source(tmp_path, file_format="jsonl")
