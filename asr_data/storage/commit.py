"""Files that are there whole or not at all (DESIGN §6).

A file is written under a temporary name in its own directory, flushed to disk, opened again and checked,
hashed, renamed, and the directory is flushed. A kill at any point leaves the old state or the new one, and
at most a ``.NAME.partial`` that no reader opens and that the next attempt overwrites.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO, Final

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from asr_data.errors import CorruptFileError, StorageError
from asr_data.storage.parquet import check_parquet, write_rows

COMMIT_POINTS: Final = (
    "created",  # the temporary file exists, empty
    "written",  # all bytes handed to the system
    "flushed",  # all bytes on disk
    "checked",  # opened again, rows and schema as expected, hashed
    "renamed",  # under its own name, the rename perhaps not on disk
    "committed",  # the rename is on disk
    "claimed",  # a shard's file names are noted as ours, before the files exist
    "recorded",  # a shard's files are in the work state
    "described",  # the dataset card is in place
    "finished",  # the manifest is in place, the work state still there
    "cleaned",  # the work state is gone
)
"""Every point at which a run can be killed with a different state on disk; see :func:`observe`."""

_observer: Callable[[str, Path], None] | None = None


def reached(point: str, path: Path) -> None:
    """Tells the observer, if one is set, that ``point`` of ``COMMIT_POINTS`` was reached for ``path``."""
    if point not in COMMIT_POINTS:
        raise ValueError(f"{point!r} is not a commit point; they are {', '.join(COMMIT_POINTS)}")
    if _observer is not None:
        _observer(point, path)


@contextmanager
def observe(observer: Callable[[str, Path], None]) -> Iterator[None]:
    """Calls ``observer(point, path)`` at every commit point inside the block; it may raise or exit.

    For tests of what a kill leaves behind. Holds for all threads of this process; not meant to be nested.
    """
    global _observer
    previous, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = previous


def _relative_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    plain = parts and path == "/".join(parts) and parts[0] != "/" and ".." not in parts
    if not plain or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} is not a plain relative path inside the directory")
    return path


RelativePath = Annotated[str, AfterValidator(_relative_path)]


class FileRecord(BaseModel):
    """What a committed file must contain.

    Attributes:
        path: relative to the output directory, with forward slashes.
        rows: number of rows.
        bytes: size of the file.
        sha256: of the file, 64 hexadecimal digits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: RelativePath
    rows: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def file_sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(root: Path, record: FileRecord) -> Path:
    """The path of a recorded file, once its size and SHA-256 have been verified.

    Raises:
        CorruptFileError: the file is missing, lies outside ``root``, or its content is not what was recorded.
    """
    path = root / record.path
    if not path.resolve().is_relative_to(root.resolve()):
        raise CorruptFileError(f"{path}: leads out of the directory {root}")
    if not path.is_file():
        raise CorruptFileError(f"{path}: missing; the manifest lists it with {record.rows} rows")
    size = path.stat().st_size
    if size != record.bytes:
        raise CorruptFileError(f"{path}: {size} bytes, but {record.bytes} were written")
    digest = file_sha256(path)
    if digest != record.sha256:
        raise CorruptFileError(f"{path}: the file changed: SHA-256 is {digest}, was {record.sha256}")
    return path


def commit_bytes(path: Path, data: bytes) -> None:
    """Replaces ``path`` by a file that holds ``data``, or leaves it as it was."""
    with _committing(path) as temporary:
        with temporary.open("xb") as file:
            reached("created", path)
            file.write(data)
            reached("written", path)
            _flush(file)
        reached("flushed", path)
        if temporary.read_bytes() != data:
            raise StorageError(f"{temporary}: reads back differently from what was written")
        reached("checked", path)


def commit_written(path: Path, write: Callable[[Path], None]) -> None:
    """Replaces ``path`` by the file that ``write`` writes to the path that it is given, or leaves it as it was."""
    with _committing(path) as temporary:
        write(temporary)
        reached("written", path)
        with temporary.open("rb+") as file:
            _flush(file)
        reached("flushed", path)


def commit_parquet(
    path: Path,
    batches: Iterable[pa.RecordBatch | pa.Table],
    schema: pa.Schema,
    *,
    root: Path | None = None,
    expected_rows: int | None = None,
) -> FileRecord:
    """Replaces ``path`` by a Parquet file of these rows, or leaves it as it was.

    Args:
        path: the file.
        batches: rows in order; each must have exactly ``schema``.
        schema: columns of the file, and its metadata.
        root: directory that the record's path is relative to; default the file's own.
        expected_rows: number of rows there must be.

    Raises:
        StorageError: a batch with another schema, or another number of rows than expected.
    """
    root = path.parent if root is None else root
    with _committing(path) as temporary:
        with temporary.open("xb") as file:
            reached("created", path)
            rows = write_rows(file, path, batches, schema)
            reached("written", path)
            _flush(file)
        reached("flushed", path)
        if expected_rows is not None and rows != expected_rows:
            raise StorageError(f"{path}: {rows} rows were given, but {expected_rows} were expected")
        check_parquet(temporary, rows, schema)
        record = FileRecord(
            path=path.relative_to(root).as_posix(),
            rows=rows,
            bytes=temporary.stat().st_size,
            sha256=file_sha256(temporary),
        )
        reached("checked", path)
    return record


def commit_copy(source: Path, path: Path, record: FileRecord) -> None:
    """Replaces ``path`` by a copy of ``source``, or leaves it as it was.

    Raises:
        CorruptFileError: the copy is not what was recorded.
    """
    with _committing(path) as temporary:
        with source.open("rb") as original, temporary.open("xb") as file:
            reached("created", path)
            shutil.copyfileobj(original, file, 1 << 20)
            reached("written", path)
            _flush(file)
        reached("flushed", path)
        if file_sha256(temporary) != record.sha256:
            raise CorruptFileError(f"{source}: changed while it was being copied to {path}")
        reached("checked", path)


@contextmanager
def _committing(path: Path) -> Iterator[Path]:
    """Gives the temporary name to write to; renames it when the block ends well, else removes it."""
    temporary = path.with_name(f".{path.name}.partial")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # left by a kill; never written through, it could be a link
        try:
            yield temporary
        except (Exception, KeyboardInterrupt):  # an error cleans up; a kill cannot, and readers ignore what it leaves
            temporary.unlink(missing_ok=True)
            raise
        temporary.replace(path)
        reached("renamed", path)
        flush_directory(path.parent)
        reached("committed", path)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns errors of the system, such as a full disk, into a StorageError that says how to resume.

    Raises:
        StorageError: instead of any OSError; names ``path``.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error}. Committed files are kept: once the "
            "cause is fixed, the same command resumes, with or without --resume"
        ) from error


def flush_directory(directory: Path) -> None:
    """Flushes renames and removals in ``directory`` to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
