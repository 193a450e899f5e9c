from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.errors import CorruptFileError, StorageError
from asr_data.storage import FileRecord
from asr_data.storage.commit import COMMIT_POINTS, check_file, commit_bytes, commit_parquet, observe
from asr_data_schemas import data_schema

SCHEMA = pa.schema([("asr_row", pa.int64()), ("chosen_token_reward", pa.list_(pa.float32()))])


def table(start: int, stop: int) -> pa.Table:
    return pa.Table.from_pylist(
        [{"asr_row": row, "chosen_token_reward": [0.5] * (row % 3)} for row in range(start, stop)], SCHEMA
    )


def test_record_holds_what_an_independent_reader_finds(tmp_path: Path) -> None:
    record = commit_parquet(tmp_path / "data" / "a.parquet", [table(0, 5)], SCHEMA, root=tmp_path)
    content = (tmp_path / "data" / "a.parquet").read_bytes()
    assert record == FileRecord(
        path="data/a.parquet", rows=5, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    assert check_file(tmp_path, record) == tmp_path / "data" / "a.parquet"


def test_bytes_do_not_depend_on_batches_and_row_groups_are_bounded(tmp_path: Path) -> None:
    whole = commit_parquet(tmp_path / "a.parquet", [table(0, 2_500)], SCHEMA)
    pieces = [batch for start in range(0, 2_500, 70) for batch in table(start, min(start + 70, 2_500)).to_batches()]
    pieced = commit_parquet(tmp_path / "b.parquet", pieces, SCHEMA)
    assert whole.sha256 == pieced.sha256
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [
        1000,
        1000,
        500,
    ]


@pytest.mark.parametrize(
    ("values", "kind", "groups"),
    [
        (
            ["ab", "cd", "e", "", None, "fghijkl"],
            pa.string(),
            [3, 1, 1, 1],
        ),  # 12 bytes: 5, and 7 in halves
        ([["ab"], ["cd"], [], ["ef"], None, []], pa.list_(pa.string()), [3, 3]),
        ([[[1, 2]], [[3, 4]], [], [[5, 6]], [[]], []], pa.list_(pa.list_(pa.int8())), [3, 3]),
        ([{"a": [1, 2]}, {"a": [3, 4, 5, 6]}, None, {"a": []}], pa.struct([("a", pa.list_(pa.int8()))]), [1, 1, 2]),
        ([[1, 2], None, [3, 4], [5, 6]], pa.list_(pa.int8(), 2), [2, 2]),
        (["abcdefgh", "i"], pa.json_(), [1, 1]),
    ],
)
def test_row_groups_stay_below_the_limit_at_any_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any], kind: pa.DataType, groups: list[int]
) -> None:
    monkeypatch.setattr("asr_data.storage.parquet.MAX_VALUES", 5)
    given = pa.table({"x": pa.array(values, kind)})
    commit_parquet(tmp_path / "a.parquet", [given], given.schema)
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == groups
    assert pq.read_table(tmp_path / "a.parquet")["x"].to_pylist() == values


def test_row_groups_stay_below_the_list_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr_data.storage.parquet.MAX_VALUES", 4)
    commit_parquet(tmp_path / "a.parquet", [table(0, 6)], SCHEMA)  # list lengths 0 1 2 0 1 2
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [3, 3]
    assert pq.read_table(tmp_path / "a.parquet").equals(table(0, 6))


def test_encodings(tmp_path: Path) -> None:
    commit_parquet(tmp_path / "a.parquet", [table(0, 5)], SCHEMA)
    group = pq.read_metadata(tmp_path / "a.parquet").row_group(0)
    assert "RLE_DICTIONARY" in group.column(0).encodings
    assert "BYTE_STREAM_SPLIT" in group.column(1).encodings
    assert "RLE_DICTIONARY" not in group.column(1).encodings
    assert {group.column(index).compression for index in range(2)} == {"ZSTD"}


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (pa.table({"asr_row": [1]}), "columns are"),
        (
            pa.table({"asr_row": [1], "chosen_token_reward": [[0.5]]}),
            "'chosen_token_reward' is list<item: double>",
        ),
    ],
)
def test_refuses_another_schema(tmp_path: Path, batch: pa.Table, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        commit_parquet(tmp_path / "a.parquet", [batch], SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_refuses_another_number_of_rows_and_keeps_the_old_file(tmp_path: Path) -> None:
    before = commit_parquet(tmp_path / "a.parquet", [table(0, 2)], SCHEMA)
    with pytest.raises(StorageError, match="3 rows were given, but 4 were expected"):
        commit_parquet(tmp_path / "a.parquet", [table(0, 3)], SCHEMA, expected_rows=4)
    check_file(tmp_path, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_notices_a_file_that_reads_back_with_other_rows(tmp_path: Path) -> None:
    def swap(point: str, path: Path) -> None:
        if point == "flushed":
            pq.write_table(table(0, 1), path.with_name(f".{path.name}.partial"))

    with observe(swap), pytest.raises(StorageError, match="holds 1 rows, but 2 were written"):
        commit_parquet(tmp_path / "a.parquet", [table(0, 2)], SCHEMA)


class Kill(BaseException):
    """Ends a run as a signal would: nothing of ours catches it."""


@pytest.mark.parametrize("point", COMMIT_POINTS[:6])
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path, point: str) -> None:
    path = tmp_path / "a.json"
    commit_bytes(path, b"old")

    def kill(reached: str, _: Path) -> None:
        if reached == point:
            raise Kill

    with observe(kill), pytest.raises(Kill):
        commit_bytes(path, b"new")
    assert path.read_bytes() == (b"new" if point in ("renamed", "committed") else b"old")
    commit_bytes(path, b"newer")
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"a.json": b"newer"}


def test_a_flipped_bit_a_cut_and_a_loss_are_noticed(tmp_path: Path) -> None:
    record = commit_parquet(tmp_path / "a.parquet", [table(0, 5)], SCHEMA)
    path = tmp_path / "a.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    with pytest.raises(CorruptFileError, match="the file changed"):
        check_file(tmp_path, record)
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptFileError, match=f"{len(content) - 1} bytes, but {len(content)}"):
        check_file(tmp_path, record)
    path.unlink()
    with pytest.raises(CorruptFileError, match="missing"):
        check_file(tmp_path, record)


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", "", "a//b", "a\\b", "./a", "a/"])
def test_record_paths_stay_inside(path: str) -> None:
    with pytest.raises(ValueError, match="plain relative path"):
        FileRecord(path=path, rows=0, bytes=0, sha256="0" * 64)


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    record = commit_parquet(tmp_path / "a.parquet", [table(0, 5)], SCHEMA)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.parquet").symlink_to(tmp_path / "a.parquet")
    with pytest.raises(CorruptFileError, match="leads out of"):
        check_file(tmp_path / "inner", record)


bfloat16 = st.floats(width=32, allow_nan=False, allow_infinity=False).map(
    lambda value: float((np.float32(value).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32))
)
int32 = st.integers(0, 2**31 - 1)
column_values: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.list_(pa.int32()): st.lists(int32, max_size=4),
    pa.list_(pa.bool_()): st.lists(st.booleans(), max_size=4),
    pa.list_(pa.float32()): st.lists(bfloat16, max_size=4),
    pa.list_(pa.string()): st.lists(st.sampled_from(["truncated", "😀", "é\n"]), max_size=2),
    pa.float32(): bfloat16,
    pa.int64(): st.integers(0, 2**63 - 1),
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=5),
}
COMPLETION = data_schema(("completion",), prefix="x_")


@given(st.lists(st.fixed_dictionaries({field.name: column_values[field.type] for field in COMPLETION}), max_size=4))
@settings(deadline=None, max_examples=40)
def test_ragged_rows_come_back_bit_for_bit(tmp_path_factory: Any, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("ragged") / "a.parquet"
    commit_parquet(path, [pa.Table.from_pylist(rows, COMPLETION)], COMPLETION)
    back = pq.read_table(path)
    assert back.schema.equals(COMPLETION)
    written = [{name: row[name] for name in COMPLETION.names} for row in rows]
    assert repr(back.to_pylist()) == repr(written)  # repr tells -0.0 from 0.0


def test_a_refusal_of_the_system_says_where_and_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"a\.json: cannot be written: No space left on device\..*same command"):
        commit_bytes(tmp_path / "a.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "inner" / ".a.json.partial").symlink_to(tmp_path / "mine")
    commit_bytes(tmp_path / "inner" / "a.json", b"new")
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert (tmp_path / "inner" / "a.json").read_bytes() == b"new"
