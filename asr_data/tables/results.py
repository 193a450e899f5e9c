"""What a query gives, batch by batch: as text lines, or as a file. No more than a batch is in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr_data.conditions import explained
from asr_data.errors import ConfigError, OutputExistsError
from asr_data.storage.commit import commit_written
from asr_data.storage.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    import polars as pl

_BATCH_ROWS = 10_000


def batches(found: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows of a query, in order.

    Raises:
        ConfigError: a value cannot be computed, such as a number of a text.
    """
    with explained("the query"):
        yield from found.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True, engine="streaming")


def csv_text(found: pl.LazyFrame) -> Iterator[str]:
    """The rows as CSV with a header; lists and objects as JSON."""
    import polars as pl

    with explained("the query"):
        yield pl.DataFrame(schema=dict.fromkeys(found.collect_schema(), pl.String)).write_csv()
    for batch in batches(found):
        with explained("the query"):
            yield _flat(batch).write_csv(include_header=False)


def json_lines(found: pl.LazyFrame) -> Iterator[str]:
    """The rows as JSON, an object a line."""
    for batch in batches(found):
        with explained("the query"):
            yield batch.write_ndjson()


def write_file(found: pl.LazyFrame, path: Path, form: Literal["parquet", "ipc"], *, overwrite: bool = False) -> None:
    """Writes the rows to a file, which is there whole or not at all.

    Args:
        found: what a query gives.
        path: the file, outside of any output directory.
        form: ``parquet``, or ``ipc``: Arrow's file form, which polars and pyarrow map into memory.
        overwrite: replace a file that is there.

    Raises:
        OutputExistsError: it is there.
        ConfigError: it would lie in an output directory; or see :func:`batches`.
        StorageError: it cannot be written.
    """
    inside = next((folder for folder in path.resolve().parents if (folder / MANIFEST_NAME).is_file()), None)
    if inside is not None:
        raise ConfigError(f"{path}: lies in {inside}, whose files are those of its manifest: name another place")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path}: exists already; --overwrite replaces it")
    if path.is_dir():
        raise OutputExistsError(f"{path}: is a directory")

    def write(temporary: Path) -> None:
        with explained("the query"):
            if form == "parquet":
                found.sink_parquet(temporary, compression="zstd", maintain_order=True, engine="streaming")
            else:
                found.sink_ipc(temporary, maintain_order=True, engine="streaming")

    commit_written(path, write)


def _flat(batch: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    nested = [name for name, kind in batch.schema.items() if kind.is_nested()]
    return batch.with_columns(pl.Series(name, list(map(_json, batch[name].to_list())), pl.String) for name in nested)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)
