from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.errors import InputError
from asr_data.rows.arrow_readers import ArrowReader, DatasetReader, ParquetReader
from asr_data.types import RejectedRow

TABLE = pa.table({"n": list(range(10)), "m": [[{"role": "user", "content": str(n)}] for n in range(10)]})
RECORDS = [(n, {"n": n, "m": [{"role": "user", "content": str(n)}]}) for n in range(10)]


def write(path: Path, form: str) -> ParquetReader | ArrowReader | DatasetReader:
    if form == "parquet":
        pq.write_table(TABLE, path, row_group_size=3)
        return ParquetReader(path)
    if form == "dataset":
        return DatasetReader(datasets.Dataset(TABLE).with_format("numpy"))
    opener: Any = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with opener(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=4)
    return ArrowReader(path)


@pytest.mark.parametrize("form", ["parquet", "stream", "file", "dataset"])
def test_every_range_of_rows(tmp_path: Path, form: str) -> None:
    reader = write(tmp_path / "data", form)
    assert reader.rows == 10
    assert reader.schema == TABLE.schema
    for start in range(11):
        for stop in range(start, 12):
            assert list(reader.records(start, stop)) == RECORDS[start:stop]


def test_text_that_is_not_utf8_rejects_its_row_only(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"\xff", b"fine"]).view(pa.string())
    pq.write_table(pa.table({"a": texts}), tmp_path / "a.parquet")
    good, bad, fine = ParquetReader(tmp_path / "a.parquet").records(0, 3)
    assert good == (0, {"a": "good"})
    assert isinstance(bad, RejectedRow)
    assert (bad.index, bad.code) == (1, "invalid_unicode")
    assert fine == (2, {"a": "fine"})


@pytest.mark.parametrize("inside", ["list", "object", "objects in a list"])
def test_text_within_lists_and_objects_too(tmp_path: Path, inside: str) -> None:
    texts: Any = pa.array([b"good", b"\xff", b"fine"]).view(pa.string())
    if "object" in inside:
        texts = pa.StructArray.from_arrays([texts], ["a"])
    if "list" in inside:
        texts = pa.ListArray.from_arrays([0, 1, 2, 3], texts)
    pq.write_table(pa.table({"n": [0, 1, 2], "a": texts}), tmp_path / "a.parquet")
    good, bad, fine = ParquetReader(tmp_path / "a.parquet").records(0, 3)
    assert isinstance(good, tuple)
    assert isinstance(fine, tuple)
    assert (good[0], fine[0]) == (0, 2)
    assert isinstance(bad, RejectedRow)
    assert (bad.index, bad.code) == (1, "invalid_unicode")


def test_a_value_that_parquet_cannot_hold_rejects_its_row_only(tmp_path: Path) -> None:
    path, far = tmp_path / "a.arrow", 2**62  # seconds are stored as milliseconds
    times = pa.array([1, None, far, 4, far], pa.timestamp("s"))
    with pa.ipc.new_file(str(path), pa.schema([("t", times.type)])) as writer:
        writer.write_table(pa.table({"t": times}))
    rows = list(ArrowReader(path).records(0, 5))
    rejected = [row for row in rows if isinstance(row, RejectedRow)]
    assert [row[0] for row in rows if isinstance(row, tuple)] == [0, 1, 3]
    assert [(row.index, row.code) for row in rejected] == [(2, "wrong_type"), (4, "wrong_type")]
    assert str(far) in rejected[0].message


@pytest.mark.parametrize("reader", [ParquetReader, ArrowReader])
@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense", b"ARROW1\0\0nonsense"])
def test_damaged_file_is_named(tmp_path: Path, reader: Any, content: bytes) -> None:
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(InputError, match="broken"):
        reader(tmp_path / "broken")


def test_damaged_page_is_noticed_where_pages_have_checksums(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": ["x" * 5_000]}), path, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[2_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet"):
        list(ParquetReader(path).records(0, 1))


def test_column_names_that_occur_twice(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="twice: a"):
        ParquetReader(tmp_path / "a.parquet")


def test_a_column_name_that_is_not_utf8(tmp_path: Path) -> None:
    pq.write_table(pa.table({"aaaa": [1]}), tmp_path / "a.parquet", store_schema=False)
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content.replace(b"aaaa", b"aa\xf4a"))
    with pytest.raises(InputError, match=r"a\.parquet"):
        ParquetReader(tmp_path / "a.parquet")


@pytest.mark.parametrize("nested", [False, True])
def test_arrow_offsets_that_lead_out_of_the_file_are_not_followed(tmp_path: Path, nested: bool) -> None:
    offsets = np.array([0, 5, 2_000_000_000, 15], dtype=np.int32)
    texts: Any = pa.StringArray.from_buffers(3, pa.py_buffer(offsets), pa.py_buffer(b"x" * 15))
    column = pa.ListArray.from_arrays(pa.array([0, 3], pa.int32()), texts) if nested else texts
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), pa.schema([("a", column.type)])) as writer:
        writer.write_batch(pa.record_batch([column], names=["a"]))
    with pytest.raises(InputError, match=r"a\.arrow.*(out of bounds|Offset)"):
        list(ArrowReader(tmp_path / "a.arrow").records(0, 3))


def test_arrow_text_that_is_not_utf8_rejects_its_row_only(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"\xff"]).view(pa.string())
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), pa.schema([("a", pa.string())])) as writer:
        writer.write_batch(pa.record_batch([texts], names=["a"]))
    good, bad = ArrowReader(tmp_path / "a.arrow").records(0, 2)
    assert good == (0, {"a": "good"})
    assert isinstance(bad, RejectedRow)
    assert bad.code == "invalid_unicode"
