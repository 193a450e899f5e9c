"""Parquet as this package writes it.

The bytes depend on the rows alone, not on how they were batched, so a run that was killed and resumed writes the same
files as one that was not. Compressed with zstd; pages carry checksums; token rewards are byte-stream-split, which
reduces bfloat16-rounded floats to a third (DESIGN §2).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asr_data.errors import StorageError

ROW_GROUP_ROWS: Final = 1_000
"""Rows per row group: what a writer and a reader hold in memory at once."""
MAX_VALUES: Final = 2**28
"""List values, or bytes of texts, per row group and column at any depth; Arrow's 32-bit offsets end at 2³¹ - 1."""


def write_rows(file: BinaryIO, path: Path, batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema) -> int:
    """Writes ``batches``, each with exactly ``schema``, to ``file`` and returns their number of rows.

    ``path`` only names the file in errors.

    Raises:
        StorageError: a batch with another schema.
    """
    rows = 0
    with _writer(file, schema) as writer:
        for group in _row_groups(path, batches, schema):
            writer.write_table(group, row_group_size=max(1, group.num_rows))
            rows += group.num_rows
    return rows


def _writer(file: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    noisy: list[str] = []
    others: list[str] = []
    for leaf in _leaf_columns(schema):
        # A network's floats rarely repeat, so a dictionary is of no use, but their exponents do.
        column = leaf.partition(".")[0]
        (noisy if column.endswith(("_token_reward", "_span_reward")) else others).append(leaf)
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=others,  # type: ignore[arg-type]  # the stubs do not know the list form
        use_byte_stream_split=noisy,
        write_page_checksum=True,
        write_page_index=True,
    )


def _leaf_columns(schema: pa.Schema) -> list[str]:
    """Parquet's own names of the leaves, such as ``chosen_ids.list.element``."""
    buffer = io.BytesIO()
    pq.write_table(schema.empty_table(), buffer)
    leaves = pq.ParquetFile(buffer).schema
    return [leaves.column(index).path for index in range(len(leaves))]


def _row_groups(path: Path, batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cuts the rows into groups whose boundaries do not depend on how the rows were batched."""
    waiting: list[pa.Table] = []
    waiting_rows = 0
    for batch in batches:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        if not table.schema.equals(schema, check_metadata=False):
            raise StorageError(f"{path}: {schema_difference(table.schema, schema)}")
        waiting.append(pa.Table.from_arrays(table.columns, schema=schema))
        waiting_rows += table.num_rows
        if waiting_rows < ROW_GROUP_ROWS:
            continue
        table = pa.concat_tables(waiting)
        whole = waiting_rows - waiting_rows % ROW_GROUP_ROWS
        for start in range(0, whole, ROW_GROUP_ROWS):
            yield from _bounded(table.slice(start, ROW_GROUP_ROWS))
        waiting, waiting_rows = [table.slice(whole)], waiting_rows - whole
    if waiting_rows:
        yield from _bounded(pa.concat_tables(waiting))


def _bounded(table: pa.Table) -> Iterator[pa.Table]:
    """Halves a group until no column holds more than ``MAX_VALUES``; one row is never cut."""
    values = max((sum(map(_most_values, column.chunks)) for column in table.columns), default=0)
    if values <= MAX_VALUES or table.num_rows == 1:
        yield table.combine_chunks()
        return
    half = table.num_rows // 2
    yield from _bounded(table.slice(0, half))
    yield from _bounded(table.slice(half))


def _most_values(array: Any) -> int:
    """The most list values, or bytes of texts, at any depth of a column."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _most_values(array.storage)
    if isinstance(kind, pa.StructType):
        return max(map(_most_values, array.flatten()), default=0)
    if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        items = array.flatten()
        return max(len(items), _most_values(items))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return int(pc.sum(pc.binary_length(array)).as_py() or 0)
    return 0


def schema_difference(found: pa.Schema, wanted: pa.Schema) -> str:
    """How two unequal schemas differ, for messages."""
    if found.names != wanted.names:
        return f"columns are {found.names}, but must be {wanted.names}"
    for got, want in zip(found, wanted, strict=True):
        if not got.equals(want):
            return f"column {got.name!r} is {got.type}, but must be {want.type}"
    return "schemas differ"


def check_parquet(path: Path, rows: int, schema: pa.Schema) -> None:
    """Reopens a Parquet file that has just been written.

    Raises:
        StorageError: it has another number of rows or another schema.
    """
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows != rows:
            raise StorageError(f"{path}: holds {file.metadata.num_rows} rows, but {rows} were written")
        if not file.schema_arrow.equals(schema, check_metadata=False):
            raise StorageError(f"{path}: {schema_difference(file.schema_arrow, schema)}")
