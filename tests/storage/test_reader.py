from __future__ import annotations

from typing import Any

import pytest

from asr_data.errors import CorruptFileError
from asr_data.storage import open_output
from asr_data.types import RejectedRow


def test_rows_come_back_in_order_and_in_batches(write: Any, rows: Any, schemas: Any) -> None:
    output = open_output(write())
    batches = list(output.data_batches(batch_rows=1))
    assert [batch.num_rows for batch in batches] == [1, 1]
    assert [row for batch in batches for row in batch.to_pylist()] == rows["data"]
    assert [row for batch in output.score_batches() for row in batch.to_pylist()] == rows["scores"]
    assert list(output.rejects()) == [RejectedRow(1, "empty_prompt", "the prompt is empty")]
    assert [batch.schema.names for batch in output.data_batches(columns=["asr_row"])] == [["asr_row"]]
    assert output.schema().equals(schemas["data"])


def test_rows_by_position_wherever_they_are(write: Any, rows: Any) -> None:
    output = open_output(write())
    found = [row for batch in output.rows_at([1, 0, 1, 7]) for row in batch.to_pylist()]
    assert found == rows["data"]
    assert [row for batch in output.rows_at([1], "scores") for row in batch.to_pylist()] == rows["scores"][1:]
    assert [batch.schema.names for batch in output.rows_at([0], columns=["asr_row"])] == [["asr_row"]]
    assert list(output.rows_at([])) == []


def test_a_changed_file_is_not_read(write: Any) -> None:
    path = write()
    file = path / "scores" / "train-00000.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:30] + bytes([content[30] ^ 4]) + content[31:])
    with pytest.raises(CorruptFileError, match="the file changed"):
        next(open_output(path).score_batches())
    assert next(open_output(path).data_batches()).num_rows == 2
    file.write_bytes(b"not Parquet")
    with pytest.raises(CorruptFileError, match="cannot be read"):
        next(open_output(path, verify=False).score_batches())


def test_a_manifest_that_speaks_of_other_columns(write: Any) -> None:
    output = open_output(write(output={"prefix": "x_"}))
    with pytest.raises(CorruptFileError, match=r"0\.parquet: its columns are not those that the manifest lists"):
        next(output.data_batches(columns=["x_asr_row"]))
