"""Annotated rows as a polars frame: nothing is read before a query says what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from asr_data.errors import ConfigError, CorruptFileError, InputError
from asr_data.pipeline.policy_tokenizer import recorded_tokenizer
from asr_data.rows import detect
from asr_data.rows.arrow_readers import DatasetReader, TableReader
from asr_data.rows.in_memory import is_frame, table_of
from asr_data.rows.records import readable, records_of
from asr_data.storage import AnnotatedDirectory, open_output
from asr_data.storage.commit import check_file
from asr_data.tables.columns import AnnotatedColumns, with_computed
from asr_data.tables.texts import RowReader, fields_of, text_expression, token_start_expression
from asr_data.text import Tokenizer

if TYPE_CHECKING:
    import datasets
    import pandas
    import polars as pl

_BATCH_ROWS = 10_000


def frame(
    source: str
    | os.PathLike[str]
    | AnnotatedDirectory
    | datasets.Dataset
    | pl.DataFrame
    | pandas.DataFrame
    | list[dict[str, Any]],
    *,
    tokenizer: Tokenizer | Literal["recorded"] | None = None,
) -> pl.LazyFrame:
    """Annotated rows as a lazy polars frame, with the namespace ``.asr``.

    Its columns are those of ``data/``, and some that follow from them and cost nothing unless a query names them:
    ``margin``, ``kept_S``, ``tokens_S`` and ``segments_S`` for each side S (see
    :meth:`asr_data.tables.namespace.AnnotatedFrame.summary`), and ``S_text``, the response text. With a tokenizer also
    ``S_token_start``, the code point where each policy token starts, of which ``.asr.tokens`` makes texts. A name that
    the input uses gets ``asr_`` in front.

    Args:
        source: a finished output directory, or what :func:`asr_data.annotate` gave: a ``datasets.Dataset``, a polars or
            pandas ``DataFrame``, or a list of dictionaries.
        tokenizer: the policy's. ``"recorded"``: the one that the directory was made with, loaded when it is needed.

    Raises:
        CorruptFileError: no finished output directory, or a file of it has another size than was written. Checksums
            are left to ``asr-annotate validate`` and to ``open_output``.
        ConfigError: rows without the columns that annotation adds, or without a tokenizer of their own.
        InputError: something else, or a column that holds values of several types.
    """
    from asr_data.tables import namespace  # noqa: F401 - registers .asr

    if isinstance(source, str | os.PathLike):
        source = open_output(Path(source), verify=False)
    if isinstance(source, AnnotatedDirectory):
        return _of_directory(source, tokenizer)
    if tokenizer == "recorded":
        raise ConfigError("a dataset in memory names no tokenizer: pass the policy's as tokenizer=")
    return _in_memory(source, tokenizer)


def scan(annotated: AnnotatedDirectory, config: Literal["data", "scores", "rejects"]) -> pl.LazyFrame:
    """The files of one folder of an output directory, as they are.

    Raises:
        CorruptFileError: a file is missing or has another size than was written.
    """
    import polars as pl

    files = annotated.manifest.files_of(config)
    for record in files:
        path = annotated.path / record.path
        if not path.is_file() or path.stat().st_size != record.bytes:
            raise CorruptFileError(f"{path}: missing, or not the {record.bytes:,} bytes that were written")
    if not files:
        raise CorruptFileError(f"{annotated.path}: the manifest lists no files in {config}/")
    return pl.scan_parquet([annotated.path / record.path for record in files], glob=False, hive_partitioning=False)


def check_files(annotated: AnnotatedDirectory, config: Literal["data", "scores", "rejects"]) -> None:
    """Compares the files of one folder with their checksums.

    Raises:
        CorruptFileError: a file is not what was written.
    """
    for record in annotated.manifest.files_of(config):
        check_file(annotated.path, record)


def _of_directory(annotated: AnnotatedDirectory, tokenizer: Tokenizer | Literal["recorded"] | None) -> pl.LazyFrame:
    manifest, rows = annotated.manifest, scan(annotated, "data")
    reader = RowReader(
        manifest.plan.layout,
        AnnotatedDirectory(annotated.path, manifest, verify=False).schema(),
        manifest.plan.response_text,
        manifest.prefix,
    )

    @cache
    def policy() -> Tokenizer:
        return tokenizer if isinstance(tokenizer, Tokenizer) else recorded_tokenizer(manifest)

    return _with_texts(rows, reader, policy if tokenizer is not None and manifest.stage == "masked" else None)


def _in_memory(source: Any, tokenizer: Tokenizer | None) -> pl.LazyFrame:
    from polars.io.plugins import register_io_source

    read = _reading(source)
    reader = read(None)
    columns = AnnotatedColumns.of(reader.schema.names)

    def batches(
        wanted: list[str] | None, predicate: pl.Expr | None, most: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        selected = read(wanted)
        stop = reader.rows if most is None or predicate is not None else min(most, reader.rows)
        for batch in selected.batches(0, stop):
            found = _data_frame(pa.Table.from_batches([batch]))
            yield found if predicate is None else found.filter(predicate)

    schema = _data_frame(reader.schema.empty_table()).schema
    rows = register_io_source(batches, schema=schema, is_pure=True)
    inputs = [name for name in reader.schema.names if not _is_added(name, columns)]
    first = readable(record for batch in reader.batches(0, min(100, reader.rows)) for record in records_of(batch))
    layout = detect(
        fields_of(reader.schema, inputs),
        [{name: record[name] for name in inputs} for record in first],
    )
    texts = RowReader(layout, reader.schema, prefix=columns.prefix)
    return _with_texts(rows, texts, None if tokenizer is None else lambda: tokenizer)


def _reading(source: Any) -> Callable[[list[str] | None], DatasetReader | TableReader]:
    """What reads the rows, with all columns or with some."""
    hf_datasets = sys.modules.get("datasets")
    if hf_datasets is not None and isinstance(source, hf_datasets.Dataset):
        return lambda names: DatasetReader(source if names is None else source.select_columns(names))
    if not (isinstance(source, list) or is_frame(source, "polars") or is_frame(source, "pandas")):
        raise InputError(
            "expected an output directory, a datasets.Dataset (of a DatasetDict, give one split), a polars or pandas "
            f"DataFrame, or a list of dictionaries, got {type(source).__name__}"
        )
    table, place = table_of(source)
    return lambda names: TableReader(table if names is None else table.select(names), place)


def _with_texts(rows: pl.LazyFrame, reader: RowReader, tokenizer: Callable[[], Tokenizer] | None) -> pl.LazyFrame:
    more = {f"{side}_text": text_expression(reader, side) for side in reader.layout.sides}
    if tokenizer is not None:
        more |= {f"{side}_token_start": token_start_expression(reader, side, tokenizer) for side in reader.layout.sides}
    return with_computed(rows, AnnotatedColumns.of(reader.schema.names), more)


def _is_added(name: str, columns: AnnotatedColumns) -> bool:
    own = name.removeprefix(columns.prefix)
    return own == "prompt_ids" or own.startswith(("asr_", *(f"{side}_" for side in columns.sides)))


def _data_frame(table: pa.Table) -> pl.DataFrame:
    import polars as pl

    found = pl.from_arrow(table)
    if isinstance(found, pl.Series):
        raise TypeError("a table without columns")
    return found
