"""Where rows come from: a file, a directory, a dataset on the Hub or in memory, behind one interface."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from asr_data.errors import InputError
from asr_data.rows.arrow_readers import ArrowReader, DatasetReader, ParquetReader
from asr_data.rows.file_state import FileState, states_of
from asr_data.rows.schema import unify
from asr_data.rows.text_readers import CsvReader, JsonLinesReader, RawRow, json_reader
from asr_data.types import RejectedRow

if TYPE_CHECKING:
    import datasets
    from _typeshed import ReadableBuffer as Buffer

ALLOWED_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".csv", ".arrow")
_DEFAULT_SPLIT = "train"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Reader(Protocol):
    """One file, or one dataset in memory."""

    rows: int
    schema: pa.Schema

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order, each a ``(row index, record)`` or a rejected row."""


@dataclass(frozen=True, slots=True)
class Source:
    """An input: its rows in order, any part of them as often as wanted.

    Attributes:
        description: what was opened, for people.
        schema: exact Arrow types of the columns, in a form that Parquet can hold.
        fingerprint: sha256 of the content; another input has another one.
        rows: number of rows, those that cannot be read included.
        readers: the files, in order.
        files: the files and their states when they were opened; empty for a dataset that is memory-mapped.
        directory: the directory that holds the input, where one was named.
    """

    description: str
    schema: pa.Schema
    fingerprint: str
    rows: int
    readers: Sequence[Reader]
    files: tuple[tuple[Path, FileState | None], ...] = ()
    directory: Path | None = None

    def fingerprint_again(self) -> str:
        """The fingerprint of the content as it is now.

        Raises:
            OSError: a file cannot be read any more.
        """
        if self.files:
            return _fingerprint_of_files([path for path, _ in self.files])
        for reader in self.readers:
            if isinstance(reader, DatasetReader):
                return _fingerprint_of_dataset(reader)  # the only one
        return self.fingerprint

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[list[RawRow]]:
        """The rows ``[start, stop)`` in order, in lists of ``size`` and a shorter last one."""
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
                for row in reader.records(max(0, start - first), min(stop - first, reader.rows)):
                    yield _moved(row, first)
            first += reader.rows


def open_source(
    location: str | Path | datasets.Dataset,
    *,
    split: str | None = None,
    name: str | None = None,
    revision: str | None = None,
) -> Source:
    """Open an input.

    Args:
        location: a file (``ALLOWED_SUFFIXES``); a directory that ``save_to_disk`` wrote or that
            ``datasets.load_dataset`` understands; a Hub dataset id ``owner/name``; or a dataset in memory.
        split: which split; needed where there are several and none is ``train``.
        name: which configuration, for a directory or a Hub dataset that has several.
        revision: commit, branch or tag of a Hub dataset.

    Raises:
        InputError: it does not exist, holds no rows, is damaged, has an unknown suffix, or leaves open which
            split or configuration is meant.
    """
    if not isinstance(location, str | Path):
        source = _from_dataset(location, "dataset in memory")
    elif (path := Path(location)).is_dir():
        source = replace(_from_directory(path, split, name), directory=path)
    elif path.exists() or str(location).endswith(ALLOWED_SUFFIXES) or not _HUB_ID.fullmatch(str(location)):
        if split is not None or name is not None or revision is not None:
            raise InputError(f"{path}: --split, --name and --revision are for directories and Hub datasets")
        source = _from_files([path], str(path))
    else:
        source = _from_hub(str(location), split, name, revision)
    if source.rows == 0:
        raise InputError(f"{source.description}: there are no rows")
    return source


def open_reader(path: Path) -> Reader:
    """The reader for one file, chosen by its suffix.

    Raises:
        InputError: the file is missing, damaged, or has a suffix that is not in ``ALLOWED_SUFFIXES``.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file or directory (a dataset on the Hub is written owner/name; a file ends in "
            f"{', '.join(ALLOWED_SUFFIXES)})"
        )
    match path.name.lower():
        case lower if lower.endswith(".parquet"):
            return ParquetReader(path)
        case lower if lower.endswith((".jsonl", ".jsonl.gz")):
            return JsonLinesReader(path)
        case lower if lower.endswith(".json"):
            return json_reader(path)
        case lower if lower.endswith(".csv"):
            return CsvReader(path)
        case lower if lower.endswith(".arrow"):
            return ArrowReader(path)
    raise InputError(f"{path}: unknown suffix; allowed are {', '.join(ALLOWED_SUFFIXES)}")


def _from_files(paths: Sequence[Path], description: str) -> Source:
    files = states_of(paths)
    readers = [open_reader(path) for path in paths]
    schema = unify((str(path), reader.schema) for path, reader in zip(paths, readers, strict=True))
    rows = sum(reader.rows for reader in readers)
    fingerprint = _fingerprint_of_files(paths)
    if states_of(paths) != files:
        raise InputError(f"{description}: the input changed while it was being opened; try again once it is complete")
    return Source(description, schema, fingerprint, rows, readers, files)


def _from_dataset(dataset: datasets.Dataset, description: str) -> Source:
    import datasets as hf_datasets

    if not isinstance(dataset, hf_datasets.Dataset):
        raise InputError(
            f"expected a path, a Hub dataset id or a datasets.Dataset, got {type(dataset).__name__}; of a "
            "DatasetDict, give one split"
        )
    reader = DatasetReader(dataset)
    return Source(description, reader.schema, _fingerprint_of_dataset(reader), reader.rows, [reader])


def _from_directory(directory: Path, split: str | None, name: str | None) -> Source:
    if (directory / "dataset_dict.json").is_file() or (directory / "state.json").is_file():
        return _from_saved(directory, split)
    import datasets as hf_datasets

    try:  # resolves splits and the configs of a dataset card, and reads no data
        config = hf_datasets.load_dataset_builder(str(directory), name=name).config
    except (hf_datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        raise InputError(f"{directory}: not a directory with a dataset: {error}") from error
    files_by_split = {str(key): [Path(file) for file in files] for key, files in (config.data_files or {}).items()}
    chosen = _choose_split(list(files_by_split), split, str(directory))
    return _from_files(files_by_split[chosen], f"{directory} (split {chosen})")


def _from_saved(directory: Path, split: str | None) -> Source:
    """A directory that ``save_to_disk`` wrote."""
    import datasets as hf_datasets

    try:
        saved = hf_datasets.load_from_disk(str(directory))
    except (pa.ArrowException, ValueError, KeyError, OSError) as error:
        raise InputError(f"{directory}: a saved dataset that cannot be loaded: {error}") from error
    if isinstance(saved, hf_datasets.DatasetDict):
        chosen = _choose_split(list(saved), split, str(directory))
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
    chosen = _choose_split(list(loaded), None, repository)
    return _from_dataset(loaded[chosen], f"{repository} (split {chosen})")


def _choose_split(available: Sequence[str], wanted: str | None, place: str) -> str:
    if wanted is not None and wanted not in available:
        raise InputError(f"{place}: no split {wanted!r}; there are {', '.join(available) or 'none'}")
    if wanted is not None:
        return wanted
    if _DEFAULT_SPLIT in available:
        return _DEFAULT_SPLIT
    if len(available) != 1:
        raise InputError(f"{place}: choose one of the splits {', '.join(available) or '(none)'} with --split")
    return available[0]


def _fingerprint_of_files(paths: Sequence[Path]) -> str:
    """sha256 over the bytes of all files; names and places do not count."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _fingerprint_of_dataset(reader: DatasetReader) -> str:
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
    return digest.hexdigest()


class _HashingSink(io.RawIOBase):
    """A file that keeps nothing but the digest of what is written to it."""

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self._digest.update(data)
        return memoryview(data).nbytes


def _moved(row: RawRow, first: int) -> RawRow:
    """The row with its index in the whole input instead of in its file."""
    if isinstance(row, RejectedRow):
        return replace(row, index=row.index + first)
    return row[0] + first, row[1]


def first_records(source: Source, count: int = 100) -> list[Mapping[str, object]]:
    """Up to ``count`` of the first records, rejected ones left out."""
    rows = next(source.batches(count, 0, count), [])
    return [row[1] for row in rows if not isinstance(row, RejectedRow)]
