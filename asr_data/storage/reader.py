"""Reading an output directory, with its checksums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from asr_data.errors import CorruptFileError
from asr_data.rows.file_state import FileState
from asr_data.storage.commit import FileRecord, check_file
from asr_data.storage.manifest import Manifest, load_manifest
from asr_data.storage.plan import type_name
from asr_data.types import Int64, RejectedRow


def read_batches(path: Path, batch_rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of one Parquet file, in order, holding about one row group in memory.

    Raises:
        CorruptFileError: it cannot be read as Parquet.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            yield from file.iter_batches(batch_rows, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise CorruptFileError(f"{path}: cannot be read: {error}") from error


def read_rows_at(path: Path, rows: Int64, columns: Sequence[str] | None = None) -> pa.RecordBatch:
    """Some rows of one Parquet file, by their numbers, int64 ascending; only their row groups are read.

    Raises:
        CorruptFileError: it cannot be read as Parquet.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            found, first = [], 0
            for group in range(file.metadata.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                inside = rows[(rows >= first) & (rows < last)] - first
                if inside.size:
                    table = file.read_row_group(group, columns=None if columns is None else list(columns))
                    # From its buffer: pyarrow imports pandas to look at an array.
                    numbers = pa.Array.from_buffers(pa.int64(), inside.size, [None, pa.py_buffer(inside.tobytes())])
                    found.append(table.take(numbers))
                first = last
            [batch] = pa.concat_tables(found).combine_chunks().to_batches()
            return batch
    except (OSError, pa.ArrowException) as error:
        raise CorruptFileError(f"{path}: cannot be read: {error}") from error


def read_schema(path: Path) -> pa.Schema:
    """The columns of one Parquet file, and the metadata that ``datasets`` reads its features from.

    Raises:
        CorruptFileError: it cannot be read as Parquet.
    """
    try:
        schema = pq.read_schema(path)
        text = (schema.metadata or {}).get(b"huggingface")
        return schema.remove_metadata() if text is None else schema.with_metadata({b"huggingface": text})
    except (OSError, pa.ArrowException) as error:
        raise CorruptFileError(f"{path}: cannot be read: {error}") from error


class AnnotatedDirectory:
    """A finished output directory, opened by :func:`open_output`.

    Attributes:
        path: the directory.
        manifest: content of its ``asr.json``.
    """

    def __init__(self, path: Path, manifest: Manifest, *, verify: bool) -> None:
        self.path = path
        self.manifest = manifest
        self._verify = verify
        self._states: dict[str, FileState | None] = {}

    def schema(self, config: Literal["data", "scores", "rejects"] = "data") -> pa.Schema:
        """The Arrow schema of a config's files.

        Raises:
            CorruptFileError: there is no such file, or it is not what was written.
        """
        records = self.manifest.files_of(config)
        if not records:
            raise CorruptFileError(f"{self.path}: the manifest lists no files in {config}/")
        return read_schema(self.checked(records[0]))

    def data_batches(self, batch_rows: int = 1_000, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The annotated rows in input order, ``batch_rows`` at most at a time.

        Args:
            batch_rows: rows per batch, at most; a batch ends where a file ends.
            columns: names of the columns to read; default all.

        Raises:
            CorruptFileError: a file is not what was written.
        """
        yield from self._batches("data", batch_rows, columns)

    def score_batches(self, batch_rows: int = 1_000) -> Iterator[pa.RecordBatch]:
        """The rewards over bytes in input order; see :meth:`data_batches`."""
        yield from self._batches("scores", batch_rows, None)

    def rows_at(
        self,
        positions: Sequence[int],
        config: Literal["data", "scores"] = "data",
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows at some positions of a config, from 0, in ascending order: a batch for each file that has any.

        Only the row groups that hold them are read, wherever in the directory they are.

        Args:
            positions: of the rows; one that is not there is left out.
            config: the folder.
            columns: names of the columns to read; default all.

        Raises:
            CorruptFileError: a file is not what was written.
        """
        wanted, first = np.unique(np.array(positions, dtype=np.int64)), 0
        for record in self.manifest.files_of(config):
            inside = wanted[(wanted >= first) & (wanted < first + record.rows)] - first
            if inside.size:
                yield read_rows_at(self.checked(record), inside, columns)
                self._check_state(record)
            first += record.rows

    def rejects(self) -> Iterator[RejectedRow]:
        """The rows that could not be annotated, in input order; see :meth:`data_batches`."""
        for batch in self._batches("rejects", 1_000, None):
            for row in batch.to_pylist():
                yield RejectedRow(row["asr_row"], row["code"], row["message"], row.get("asr_pair"))

    def _batches(
        self, config: Literal["data", "scores", "logprobs", "rejects"], batch_rows: int, columns: Sequence[str] | None
    ) -> Iterator[pa.RecordBatch]:
        for record in self.manifest.files_of(config):
            yield from self.batches_of(record, batch_rows, columns)

    def batches_of(
        self, record: FileRecord, batch_rows: int, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one of the files; see :meth:`data_batches`."""
        yield from read_batches(self.checked(record), batch_rows, columns)
        self._check_state(record)

    def checked(self, record: FileRecord) -> Path:
        """The path of one of the files, once its checksum and its columns have been verified.

        Raises:
            CorruptFileError: it is not.
        """
        path = self.path / record.path
        if self._verify and record.path not in self._states:
            state = FileState.of(path)
            check_file(self.path, record)
            found = {field.name: type_name(field.type) for field in read_schema(path)}
            if found != self.manifest.columns_of(record):
                raise CorruptFileError(f"{path}: its columns are not those that the manifest lists: {found}")
            self._states[record.path] = state
        return path

    def check_unchanged(self) -> None:
        """Checks that the files that were read are still those that were checked before.

        Raises:
            CorruptFileError: one was changed, replaced or removed meanwhile.
        """
        for record in self.manifest.files:
            self._check_state(record)
        if self._verify and load_manifest(self.path) != self.manifest:
            raise CorruptFileError(f"{self.path}: was replaced by another output while it was being read")

    def _check_state(self, record: FileRecord) -> None:
        path = self.path / record.path
        if record.path in self._states and FileState.of(path) != self._states[record.path]:
            check_file(self.path, record)
            self._states[record.path] = FileState.of(path)


def open_output(path: Path, *, verify: bool = True) -> AnnotatedDirectory:
    """Opens a finished output directory.

    Args:
        path: the directory.
        verify: check each file's SHA-256 before its first row is read. Parquet alone does not notice every
            flipped bit.

    Raises:
        CorruptFileError: there is no manifest, or it cannot be understood.
    """
    return AnnotatedDirectory(path, load_manifest(path), verify=verify)
