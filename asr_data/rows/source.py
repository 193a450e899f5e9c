"""Where rows come from: a file, a directory, a dataset on the Hub or in memory, behind one interface."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from asr_data.errors import ConfigError, InputError
from asr_data.redact import without_secrets
from asr_data.rows.arrow_readers import ArrowReader, DatasetReader, ParquetReader, TableReader
from asr_data.rows.directories import choose_split, data_files
from asr_data.rows.features import METADATA_KEY, features_of, known_features, with_card_features, with_features
from asr_data.rows.fetched import (
    STANDARD_INPUT,
    copy_of_standard_input,
    copy_of_url,
    hub_dataset,
    is_url,
)
from asr_data.rows.file_formats import ALLOWED, ALLOWED_SUFFIXES, FileFormat, format_of_name, named_format
from asr_data.rows.file_state import FileState, states_of
from asr_data.rows.in_memory import table_of
from asr_data.rows.records import ArrowRecord, readable
from asr_data.rows.schema import to_arrow, unify
from asr_data.rows.selection import Selection, kept
from asr_data.rows.text_readers import CsvReader, JsonLinesReader, RawRow, TextReader, TsvReader, json_reader
from asr_data.types import RejectedRow

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import polars as pl
    from _typeshed import ReadableBuffer as Buffer

_SELECTED_AT_ONCE = 1_000
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Reader(Protocol):
    """One file, or one dataset in memory."""

    rows: int
    schema: pa.Schema

    @property
    def notes(self) -> Sequence[str]: ...  # noqa: D102 - see ``Source``

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order, each a ``(row index, record)`` or a rejected row."""


@dataclass(frozen=True, slots=True)
class Source:
    """An input: its rows in order, any part of them as often as wanted.

    Attributes:
        description: what was opened, for people.
        schema: Arrow types that the columns are stored under; features of ``datasets`` beyond them are its metadata.
        fingerprint: sha256 of the content; another input has another one.
        rows: number of rows, those that cannot be read included.
        readers: the files, in order.
        notes: lines for the user: files that are not read, columns that are stored under another type.
        files: the files and their states when they were opened; empty for a dataset that is memory-mapped.
        directory: the directory that holds the input, where one was named.
        where: a condition that rows must meet, see :meth:`selecting`; the others are read as rejected rows.
    """

    description: str
    schema: pa.Schema
    fingerprint: str
    rows: int
    readers: Sequence[Reader]
    notes: tuple[str, ...] = ()
    files: tuple[tuple[Path, FileState | None], ...] = ()
    directory: Path | None = None
    where: str | None = None

    def selecting(self, where: str | None) -> Source:
        """The same input, of which rows that do not meet a condition on its columns are left out, by name.

        Args:
            where: SQL, such as ``topic = 'code' AND score > 3``, decided by each row alone; None for all rows.

        Raises:
            ConfigError: see :func:`asr_data.conditions.condition`; or no row meets it.
            InputError: see :meth:`batches`.
        """
        if where is None:
            return self
        selected = replace(self, where=where)
        Selection(where, self.schema)
        if not any(kept(batch) for batch in selected.batches(_SELECTED_AT_ONCE)):
            raise ConfigError(f"--where {where!r}: none of the {self.rows:,} rows of {self.description} meets it")
        return selected

    def first(self, rows: int | None) -> Source:
        """The same input with no more than its first ``rows`` rows; None for all."""
        if rows is None or rows >= self.rows:
            return self
        return replace(self, rows=rows, description=f"{self.description} (first {rows:,} of {self.rows:,} rows)")

    def fingerprint_now(self) -> str:
        """The fingerprint of what is there now: another one where the input changed since it was opened.

        Raises:
            InputError: a file is gone or cannot be read.
        """
        return _fingerprint(self.readers, self.schema)

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[list[RawRow]]:
        """The rows ``[start, stop)`` in order, in lists of ``size`` and a shorter last one.

        Raises:
            InputError: the input became unreadable, or holds fewer rows than when it was opened.
        """
        selection = None if self.where is None else Selection(self.where, self.schema)
        for batch in self._batches(size, start, stop):
            yield batch if selection is None else selection.of(batch)

    def _batches(self, size: int, start: int, stop: int | None) -> Iterator[list[RawRow]]:
        batch: list[RawRow] = []
        for row in self._records(start, self.rows if stop is None else min(stop, self.rows)):
            batch.append(row)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _records(self, start: int, stop: int) -> Iterator[RawRow]:
        first = 0
        for reader in self.readers:
            if first < stop and start < first + reader.rows:
                low, high = max(0, start - first), min(stop - first, reader.rows)
                read = 0
                for row in reader.records(low, high):
                    read += 1
                    yield _moved(row, first, self.schema)
                if read != high - low:
                    place = getattr(reader, "path", self.description)
                    raise InputError(
                        f"{place}: the input changed while it was being read: {read} rows are left of {high - low}, "
                        f"from row {first + low} on"
                    )
            first += reader.rows


def open_source(
    location: str | Path | datasets.Dataset | pl.DataFrame | pd.DataFrame | Sequence[Mapping[str, Any]],
    *,
    split: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    file_format: str | None = None,
) -> Source:
    """Open an input.

    Args:
        location: a file (``ALLOWED_SUFFIXES``); a directory that ``save_to_disk`` wrote or that
            ``datasets.load_dataset`` understands; a Hub dataset id ``owner/name``; a URL of a file, as fsspec
            understands it; ``-`` for standard input; or rows in memory: a dataset, a polars or pandas frame, a list of
            dictionaries.
        split: which split; needed where there are several and none is ``train``.
        name: which configuration, for a directory or a Hub dataset that has several.
        revision: commit, branch or tag of a Hub dataset.
        file_format: what a file, a URL or standard input holds, whatever its name: ``jsonl``, ``csv.gz``.

    Raises:
        ConfigError: there is no such format, or standard input comes without one.
        InputError: it does not exist, holds no rows, is damaged, has an unknown suffix, or leaves open which
            split or configuration is meant.
    """
    given = None if file_format is None else named_format(file_format)
    if not isinstance(location, str | Path):
        source = _from_memory(location)
    elif (typed := str(location)) == STANDARD_INPUT or is_url(typed):
        source = _from_elsewhere(typed, split, name, revision, given)
    elif (path := Path(location)).is_dir():
        if given is not None:
            raise ConfigError(f"--format is for files, URLs and standard input, and {path} is a directory")
        source = replace(_from_directory(path, split, name), directory=path)
    elif given or path.exists() or typed.lower().endswith(ALLOWED_SUFFIXES) or not _HUB_ID.fullmatch(typed):
        _refuse_choices(typed, split, name, revision)
        source = _from_files([path], str(path), file_format=given)
    else:
        source = _from_hub(typed, split, name, revision)
    if source.rows == 0:
        raise InputError(f"{source.description}: there are no rows")
    return source


def open_reader(path: Path, file_format: FileFormat | None = None) -> Reader:
    """The reader for one file, chosen by its format, or else by its suffix.

    Raises:
        InputError: the file is missing, damaged, or has a suffix that is not in ``ALLOWED_SUFFIXES``.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file or directory (a dataset on the Hub is written owner/name; a file ends in {ALLOWED})"
        )
    found = file_format or format_of_name(path.name)
    if found is None:
        raise InputError(f"{path}: unknown suffix; allowed are {ALLOWED}")
    match found.kind:
        case "parquet":
            return ParquetReader(path)
        case "arrow":
            return ArrowReader(path)
        case "jsonl" | "ndjson":
            return JsonLinesReader(path, found.compression)
        case "json":
            return json_reader(path, found.compression)
        case "csv":
            return CsvReader(path, found.compression)
        case "tsv":
            return TsvReader(path, found.compression)


def _from_elsewhere(
    location: str, split: str | None, name: str | None, revision: str | None, file_format: FileFormat | None
) -> Source:
    """Standard input, or what stands at a URL."""
    if (repository := hub_dataset(location)) is not None:
        if revision and repository[1]:
            raise ConfigError(f"{location} names a revision, and so does --revision {revision}")
        return _from_hub(repository[0], split, name, revision or repository[1])
    _refuse_choices(without_secrets(location), split, name, revision)
    if location != STANDARD_INPUT:
        path, file_format = copy_of_url(location, file_format)
        return _from_files([path], without_secrets(location), file_format=file_format)
    if file_format is None:
        raise ConfigError("- reads standard input, which has no name: say what it holds, as in --format jsonl")
    return _from_files([copy_of_standard_input(file_format)], "standard input", file_format=file_format)


def _refuse_choices(location: str, *choices: str | None) -> None:
    if any(choice is not None for choice in choices):
        raise InputError(f"{location}: --split, --name and --revision are for directories and Hub datasets")


def _from_files(
    paths: Sequence[Path],
    description: str,
    card: Mapping[str, Any] = MappingProxyType({}),
    file_format: FileFormat | None = None,
) -> Source:
    """Files as one source; ``card`` has the features that a dataset card gives."""
    files = states_of(paths)
    readers = [open_reader(path, file_format) for path in paths]
    schema = unify((str(path), reader.schema) for path, reader in zip(paths, readers, strict=True))
    if card:
        schema = with_card_features(schema, card, description)
    source = replace(_source(description, schema, readers), files=files)
    if states_of(paths) != files:
        raise InputError(f"{description}: the input changed while it was being opened; try again once it is complete")
    return source


def _source(description: str, schema: pa.Schema, readers: Sequence[Reader]) -> Source:
    schema, left_out = known_features(schema)
    notes = dict.fromkeys([*(note for reader in readers for note in reader.notes), *left_out])
    for reader in readers:
        if not isinstance(reader, TextReader):
            reader.schema = with_features(reader.schema, features_of(schema))
    rows = sum(reader.rows for reader in readers)
    return Source(description, schema, _fingerprint(readers, schema), rows, readers, tuple(notes))


def _from_memory(data: Any) -> Source:
    import datasets as hf_datasets

    if isinstance(data, hf_datasets.Dataset):
        return _from_dataset(data, "dataset in memory")
    table, description = table_of(data)
    reader = TableReader(table, description)
    return _source(description, reader.schema, [reader])


def _from_dataset(dataset: datasets.Dataset, description: str) -> Source:
    reader = DatasetReader(dataset)
    return _source(description, reader.schema, [reader])


def _from_directory(directory: Path, split: str | None, name: str | None) -> Source:
    if (directory / "dataset_dict.json").is_file() or (directory / "state.json").is_file():
        return _from_saved(directory, split)
    found = data_files(directory, split, name)
    source = _from_files(found.paths, f"{directory} (split {found.split})", found.features)
    return replace(source, notes=(*found.notes, *source.notes))


def _from_saved(directory: Path, split: str | None) -> Source:
    """A directory that ``save_to_disk`` wrote."""
    import datasets as hf_datasets

    try:
        saved = hf_datasets.load_from_disk(str(directory))
    except (pa.ArrowException, ValueError, KeyError, OSError) as error:
        raise InputError(f"{directory}: a saved dataset that cannot be loaded: {error}") from error
    if isinstance(saved, hf_datasets.DatasetDict):
        chosen = choose_split(list(saved), split, str(directory))
        return _from_dataset(saved[chosen], f"{directory} (split {chosen})")
    if split is not None and split != str(saved.split):
        raise InputError(f"{directory}: a single saved dataset, without a split {split!r}; leave out --split")
    return _from_dataset(saved, str(directory))


def _from_hub(repository: str, split: str | None, name: str | None, revision: str | None) -> Source:
    import datasets as hf_datasets

    try:
        loaded = hf_datasets.load_dataset(repository, name=name, split=split, revision=revision)
    except Exception as error:  # every layer below raises its own; the cause is kept
        raise InputError(
            f"{repository}: no such file or directory here, and it cannot be loaded as a Hub dataset: {error}"
        ) from error
    if split is not None:
        return _from_dataset(loaded, f"{repository} (split {split})")
    chosen = choose_split(list(loaded), None, repository)
    return _from_dataset(loaded[chosen], f"{repository} (split {chosen})")


def _fingerprint(readers: Sequence[Reader], schema: pa.Schema) -> str:
    """sha256 over the bytes of all files, or the rows of a dataset, and over features; names and places do not count.

    Features need not be in the files, and class names decide verdicts.
    """
    first = readers[0]
    if isinstance(first, DatasetReader | TableReader):
        digest = _digest_of_dataset(first)
    else:
        digest = hashlib.sha256()
        for reader in readers:
            digest.update(_file_digest(reader.path))  # type: ignore[attr-defined]  # all but a dataset's have one
    if schema.metadata:
        digest.update(schema.metadata[METADATA_KEY])
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _digest_of_dataset(reader: DatasetReader | TableReader) -> hashlib._Hash:
    """sha256 over the rows as an Arrow stream, in batches of fixed size whatever the table's chunks."""
    digest = hashlib.sha256()
    sink = pa.PythonFile(_HashingSink(digest), mode="w")
    batches = reader.batches(0, reader.rows)
    first = next(batches, None)
    if first is not None:
        with pa.ipc.new_stream(sink, first.schema.remove_metadata()) as writer:
            writer.write_batch(first.replace_schema_metadata(None))
            for batch in batches:
                writer.write_batch(batch.replace_schema_metadata(None))
    return digest


class _HashingSink(io.RawIOBase):
    """A file that keeps nothing but the digest of what is written to it."""

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self._digest.update(data)
        return memoryview(data).nbytes


def _moved(row: RawRow, first: int, schema: pa.Schema) -> RawRow:
    """The row with its index in the whole input instead of in its file, and with the features of the whole input."""
    if isinstance(row, RejectedRow):
        return replace(row, index=row.index + first)
    index, record = row
    if schema.metadata and not isinstance(record, ArrowRecord):  # JSON or CSV beside a dataset card with features
        record = ArrowRecord(to_arrow([record], schema).to_batches()[0], 0)
    return index + first, record


def first_records(source: Source, count: int = 100) -> list[Mapping[str, object]]:
    """Up to ``count`` of the first records, rejected ones left out; null for a value that has no Python form.

    Raises:
        InputError: no row of the input can be read; says why the first cannot.
    """
    rows = next(source.batches(count, 0, count), [])
    if not source.schema.names and rows and isinstance(rows[0], RejectedRow):
        first = rows[0]
        raise InputError(f"{source.description}: no row can be read; row {first.index}: {first.code}, {first.message}")
    return [*readable(row[1] for row in rows if not isinstance(row, RejectedRow))]
