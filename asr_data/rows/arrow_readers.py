"""Readers of Parquet and Arrow files and of datasets in memory: exact schema, cheap skipping, no Python objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from asr_data.errors import InputError
from asr_data.rows.arrow_types import bytes_type, cast_notes, check_names, conform_batch, stored_schema
from asr_data.rows.features import METADATA_KEY, features_of, with_features
from asr_data.rows.records import ArrowRecord
from asr_data.rows.text_readers import RawRow
from asr_data.types import RejectedRow

if TYPE_CHECKING:
    import datasets

_BATCH_ROWS: Final = 1_000
_BATCH_BYTES: Final = 1 << 28
"""Rows are decoded this many bytes at a time, or one row; Arrow's 32-bit offsets end at 2³¹ - 1."""
_ARROW_FILE_MAGIC: Final = b"ARROW1"


class ParquetReader:
    """A Parquet file; starts at the row group that holds the first row wanted.

    Args:
        path: the file.

    Attributes:
        rows: number of rows.
        schema: the types that the columns are stored under, with the features of ``datasets`` as metadata.
        notes: a line for each column that is stored under another type than the file has.

    Raises:
        InputError: not a Parquet file, or a broken one; a column that cannot be stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path), self._open() as file:
            self.rows: int = file.metadata.num_rows
            self.schema, self.notes = _checked_schema(file.schema_arrow, path)
            groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
            self._group_rows = [group.num_rows for group in groups]
            row_bytes = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
            self._batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(row_bytes, 1)))

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order."""
        first_group, first_row = 0, 0
        while first_group < len(self._group_rows) and first_row + self._group_rows[first_group] <= start:
            first_row += self._group_rows[first_group]
            first_group += 1
        groups = list(range(first_group, len(self._group_rows)))
        with _readable(self.path), self._open() as file:
            batches = file.iter_batches(batch_size=self._batch_rows, row_groups=groups)
            yield from _rows_of(batches, self.schema, first_row, start, min(stop, self.rows))

    def _open(self) -> pq.ParquetFile:
        # Pages with a checksum are verified: Parquet's decoders alone return wrong numbers without a word.
        return pq.ParquetFile(self.path, pre_buffer=False, page_checksum_verification=True)


class ArrowReader:
    """An Arrow file, memory-mapped: the stream form, which ``datasets`` writes, or the IPC file form.

    Args:
        path: the file.

    Attributes:
        rows: number of rows.
        schema: the types that the columns are stored under, with the features of ``datasets`` as metadata.
        notes: a line for each column that is stored under another type than the file has.

    Raises:
        InputError: not an Arrow file, or a broken one; a column that cannot be stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path):
            with pa.memory_map(str(path)) as source, self._open(source) as reader:
                self.schema, self.notes = _checked_schema(reader.schema, path)
            self.rows = sum(batch.num_rows for batch in self._batches())

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order."""
        with _readable(self.path):
            yield from _rows_of(self._batches(), self.schema, 0, start, min(stop, self.rows))

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(self.path)) as source, self._open(source) as reader:
            if isinstance(reader, pa.RecordBatchFileReader):
                batches: Iterator[pa.RecordBatch] = map(reader.get_batch, range(reader.num_record_batches))
            else:
                batches = iter(reader)
            yield from map(_sound, batches)

    def _open(self, source: pa.MemoryMappedFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        is_file = source.read(len(_ARROW_FILE_MAGIC)) == _ARROW_FILE_MAGIC
        source.seek(0)
        return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)


class DatasetReader:
    """A ``datasets.Dataset``, read as its Arrow table: no decoding, no torch format.

    Args:
        dataset: the dataset.

    Attributes:
        rows: number of rows.
        schema: the types that the columns are stored under, with the dataset's features as metadata.
        notes: a line for each column that is stored under another type than the dataset has.
    """

    def __init__(self, dataset: datasets.Dataset) -> None:
        self._dataset = dataset.with_format("arrow")
        self.rows = len(dataset)
        info = {"info": {"features": dataset.features.to_dict()}}
        schema = dataset.features.arrow_schema.with_metadata({METADATA_KEY: json.dumps(info).encode()})
        self.schema, self.notes = _checked_schema(schema, "the dataset")

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order."""
        yield from _rows_of(self.batches(start, stop), self.schema, start, start, min(stop, self.rows))

    def batches(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """The rows ``[start, stop)`` as record batches."""
        for first in range(start, min(stop, self.rows), _BATCH_ROWS):
            table: pa.Table = self._dataset[first : min(first + _BATCH_ROWS, stop)]
            yield from table.combine_chunks().to_batches()


class TableReader:
    """An Arrow table in memory.

    Args:
        table: the rows.
        place: what it is, for messages.

    Attributes:
        rows: number of rows.
        schema: the types that the columns are stored under.
        notes: a line for each column that is stored under another type than the table has.
    """

    def __init__(self, table: pa.Table, place: str) -> None:
        self._table = table
        self.rows = table.num_rows
        self.schema, self.notes = _checked_schema(table.schema, place)

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order."""
        yield from _rows_of(self.batches(start, stop), self.schema, start, start, min(stop, self.rows))

    def batches(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """The rows ``[start, stop)`` as record batches."""
        for first in range(start, min(stop, self.rows), _BATCH_ROWS):
            yield from self._table.slice(first, min(_BATCH_ROWS, stop - first)).combine_chunks().to_batches()


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, after its offsets were checked: Arrow takes them as they are in a file, and reads wherever they point.

    Texts are checked later, as a text that is not UTF-8 costs its row and not the file.

    Raises:
        ArrowInvalid: offsets, lengths or indices that lead out of the data.
    """
    for column in batch.columns:
        kind = bytes_type(column.type)
        (column if kind.equals(column.type) else column.view(kind)).validate(full=True)
    return batch


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns every way in which reading can fail into an InputError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of a column's name
        raise InputError(f"{path}: missing, damaged or in another format: {error}") from error


def _checked_schema(schema: pa.Schema, place: Path | str) -> tuple[pa.Schema, list[str]]:
    check_names(schema.names, place)
    try:
        stored = stored_schema(schema)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    return with_features(stored, features_of(schema)), list(cast_notes(schema, stored))


def _rows_of(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, first: int, start: int, stop: int
) -> Iterator[RawRow]:
    """The rows ``[start, stop)`` of batches whose first row has the index ``first``."""
    for batch in batches:
        if first >= stop:
            return
        low, high = max(start - first, 0), min(stop - first, batch.num_rows)
        for offset in range(low, high, _BATCH_ROWS):
            part = batch.slice(offset, min(_BATCH_ROWS, high - offset))
            yield from _stored_rows(part, schema, first + offset)
        first += batch.num_rows


def _stored_rows(batch: pa.RecordBatch, schema: pa.Schema, first: int) -> Iterator[RawRow]:
    """Rows as the types that they are stored under; one with a value that its type cannot hold is rejected."""
    try:
        stored = conform_batch(batch, schema)
    except pa.ArrowInvalid as error:
        if batch.num_rows == 1:
            yield RejectedRow(first, "wrong_type", f"a value does not fit the type that it is stored under: {error}")
            return
        half = batch.num_rows // 2
        yield from _stored_rows(batch.slice(0, half), schema, first)
        yield from _stored_rows(batch.slice(half), schema, first + half)
        return
    yield from _valid_rows(stored, first)


def _valid_rows(batch: pa.RecordBatch, first: int) -> Iterator[RawRow]:
    """Rows with their indices; those with a text that is not UTF-8, which Arrow does not check, are rejected."""
    whole = _invalid(batch) is None
    for row in range(batch.num_rows):
        # Taken, not sliced: a slice's lists and objects are validated with the values of all rows.
        fault = None if whole else _invalid(batch.take(pa.array([row])))
        if fault is None:
            yield first + row, ArrowRecord(batch, row)
        else:
            yield RejectedRow(first + row, "invalid_unicode", fault)


def _invalid(batch: pa.RecordBatch) -> str | None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            return f"column {name!r}: a text is not valid UTF-8: {error}"
    return None
