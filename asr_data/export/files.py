"""Data files of an export: Parquet, JSON lines, and what ``datasets.load_from_disk`` opens. Memory stays flat."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from asr_data.errors import StorageError
from asr_data.export.formats import Example
from asr_data.ragged import list_column
from asr_data.storage.commit import commit_bytes, commit_parquet, file_sha256

BATCH_ROWS: Final = 1_000
"""Examples in memory at once."""


def write_data(root: Path, file: str, schema: pa.Schema, records: Iterable[Example]) -> int:
    """Writes the examples to ``root / file``, as its ending says, and returns their number.

    Raises:
        StorageError: an ending that is not ``.parquet``, ``.jsonl`` or ``.arrow``.
    """
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".parquet":
            return commit_parquet(path, _batches(records, schema), schema).rows
        case ".jsonl":
            return _write_json_lines(path, records)
        case ".arrow":
            return _write_saved_dataset(path, _batches(records, schema), schema)
        case ending:
            raise StorageError(f"{path}: ends with {ending!r}; allowed are .parquet, .jsonl, .arrow")


def _write_json_lines(path: Path, records: Iterable[Example]) -> int:
    rows = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            rows += 1
        file.flush()
        os.fsync(file.fileno())
    return rows


def _write_saved_dataset(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """A saved ``DatasetDict``: ``ROOT/train/*.arrow`` and three small JSON files.

    Written by hand: ``save_to_disk`` would need a second copy on disk, and names list types that ``datasets`` before
    4.0 does not know. The fingerprint changes with the content, since ``map`` keeps its results by it.
    """
    rows = 0
    with path.open("wb") as file:
        with pa.ipc.new_stream(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        file.flush()
        os.fsync(file.fileno())
    state: dict[str, Any] = {
        "_data_files": [{"filename": path.name}],
        "_fingerprint": file_sha256(path)[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": path.parent.name,
    }
    features = {field.name: _feature(field.type) for field in schema}
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    contents = {"train/state.json": state, "train/dataset_info.json": info, "dataset_dict.json": {"splits": ["train"]}}
    for name, content in contents.items():
        commit_bytes(path.parents[1] / name, json.dumps(content, indent=2).encode())
    return rows


def _feature(kind: pa.DataType) -> Any:
    if isinstance(kind, pa.StructType):
        return {field.name: _feature(field.type) for field in kind.fields}
    if isinstance(kind, pa.ListType):
        inner = _feature(kind.value_type)
        # A "Sequence" of a struct is a struct of lists.
        return [inner] if isinstance(kind.value_type, pa.StructType) else {"feature": inner, "_type": "Sequence"}
    return {"dtype": str(kind), "_type": "Value"}


def _batches(records: Iterable[Example], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    iterator = iter(records)
    while group := list(islice(iterator, BATCH_ROWS)):
        columns = [_column([record[field.name] for record in group], field.type) for field in schema]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """One value per example; lists of numbers come as NumPy arrays."""
    if not isinstance(kind, pa.ListType) or isinstance(kind.value_type, pa.StructType):
        return pa.array(values, type=kind)
    return list_column(values, kind.value_type)
