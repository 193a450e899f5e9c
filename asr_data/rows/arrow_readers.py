"""Readers of Parquet and Arrow files and of datasets in memory: exact schema, cheap skipping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from asr_data.errors import InputError
from asr_data.rows.schema import storable
from asr_data.rows.text_readers import RawRow
from asr_data.types import RejectedRow

if TYPE_CHECKING:
    import datasets

_BATCH_ROWS = 1_000
_ARROW_FILE_MAGIC = b"ARROW1"


class ParquetReader:
    """A Parquet file; starts at the row group that holds the first row wanted.

    Args:
        path: the file.

    Attributes:
        rows: number of rows.
        schema: the file's schema without metadata.

    Raises:
        InputError: not a Parquet file, or a broken one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path), self._open() as file:
            self.rows: int = file.metadata.num_rows
            self.schema = _checked_schema(file.schema_arrow, path)
            groups = range(file.metadata.num_row_groups)
            self._group_rows = [file.metadata.row_group(group).num_rows for group in groups]

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order."""
        first_group, first_row = 0, 0
        while first_group < len(self._group_rows) and first_row + self._group_rows[first_group] <= start:
            first_row += self._group_rows[first_group]
            first_group += 1
        groups = list(range(first_group, len(self._group_rows)))
        with _readable(self.path), self._open() as file:
            batches = file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups)
            yield from _rows_of(batches, first_row, start, min(stop, self.rows))

    def _open(self) -> pq.ParquetFile:
        # Pages with a checksum are verified: Parquet's decoders alone return wrong numbers without a word.
        return pq.ParquetFile(self.path, pre_buffer=False, page_checksum_verification=True)


class ArrowReader:
    """An Arrow file, memory-mapped: the stream form, which ``datasets`` writes, or the IPC file form.

    Args:
        path: the file.

    Attributes:
        rows: number of rows.
        schema: the file's schema without metadata.

    Raises:
        InputError: not an Arrow file, or a broken one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path):
            self.rows = sum(batch.num_rows for batch in self._batches())
            with pa.memory_map(str(path)) as source, self._open(source) as reader:
                self.schema = _checked_schema(reader.schema, path)

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order."""
        with _readable(self.path):
            yield from _rows_of(self._batches(), 0, start, min(stop, self.rows))

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
        schema: the features' schema without metadata.
    """

    def __init__(self, dataset: datasets.Dataset) -> None:
        self._dataset = dataset.with_format("arrow")
        self.rows = len(dataset)
        self.schema = _checked_schema(dataset.features.arrow_schema, "the dataset")

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order."""
        yield from _rows_of(self.batches(start, stop), start, start, min(stop, self.rows))

    def batches(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """The rows ``[start, stop)`` as record batches."""
        for first in range(start, min(stop, self.rows), _BATCH_ROWS):
            table: pa.Table = self._dataset[first : min(first + _BATCH_ROWS, stop)]
            yield from table.combine_chunks().to_batches()


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, after its offsets were checked: Arrow takes them as they stand in a file, and reads where they lead.

    Raises:
        ArrowInvalid: offsets, lengths or indices that lead out of the data.
    """
    for column in batch.columns:
        column.view(_bytes_type(column.type)).validate(full=True)
    return batch


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    """The type with bytes for texts: a text that is no UTF-8 costs its row, and not the file."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([(child.name, _bytes_type(child.type)) for child in kind.fields])
    if pa.types.is_list(kind):
        return pa.list_(pa.field(kind.value_field.name, _bytes_type(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(pa.field(kind.value_field.name, _bytes_type(kind.value_type)))
    return kind


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns every way in which reading can fail into an InputError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of a column's name
        raise InputError(f"{path}: missing, damaged or of another format: {error}") from error


def _checked_schema(schema: pa.Schema, place: Path | str) -> pa.Schema:
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise InputError(f"{place}: column names occur twice: {', '.join(twice)}")
    return storable(schema)


def _rows_of(batches: Iterator[pa.RecordBatch], first: int, start: int, stop: int) -> Iterator[RawRow]:
    """The rows ``[start, stop)`` of batches whose first row has the index ``first``."""
    for batch in batches:
        if first >= stop:
            return
        low, high = max(start - first, 0), min(stop - first, batch.num_rows)
        for offset in range(low, high, _BATCH_ROWS):
            part = batch.slice(offset, min(_BATCH_ROWS, high - offset))
            yield from _to_python(part, first + offset)
        first += batch.num_rows


def _to_python(batch: pa.RecordBatch, first: int) -> Iterator[RawRow]:
    try:
        records: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:  # Arrow does not check that a string column is UTF-8
        yield from (_one_to_python(batch.slice(row, 1), first + row) for row in range(batch.num_rows))
    else:
        yield from enumerate(records, start=first)


def _one_to_python(row: pa.RecordBatch, index: int) -> RawRow:
    try:
        return index, row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return RejectedRow(index, "invalid_unicode", f"a text is not valid UTF-8: {error}")
