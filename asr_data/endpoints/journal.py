"""A journal of answers: one line of JSON per answer.

The first line is the plan, the others are answers in order of arrival. A line is written by a single call, ends with
a newline and is synced to disk before it counts. Text after the last newline is a line cut short by a kill: it is
removed when the journal is opened for writing, and its answer is requested again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from asr_data.errors import CorruptFileError, OutputExistsError, StorageError
from asr_data.storage.commit import flush_directory
from asr_data.storage.plan import plan_differences


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # a reply may contain half of a surrogate pair


StorableText = Annotated[str, AfterValidator(_storable)]
Count = Annotated[int, Field(ge=0)]


class _Keyed(Protocol):
    @property
    def key(self) -> Hashable: ...


E = TypeVar("E", bound=_Keyed)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: dict[str, JsonValue]


def read_plan(path: Path) -> dict[str, JsonValue] | None:
    """The journal's plan; None if there is no journal, or if its first line is incomplete.

    Raises:
        CorruptFileError: the file is not a journal.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        line = file.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        return _Header.model_validate_json(line).plan
    except ValidationError as error:
        raise CorruptFileError(f"{path}, line 1: not the first line of a journal of answers") from error


def read_entries(path: Path, parse: Callable[[bytes], E], what: str) -> dict[Hashable, E]:
    """All answers of a journal, by key; an incomplete last line is ignored.

    Args:
        path: the file.
        parse: from a line to the answer; raises ``ValidationError``.
        what: an answer is called, for messages: ``verdict``.

    Raises:
        CorruptFileError: another line is not an answer, or an answer occurs twice.
    """
    entries: dict[Hashable, E] = {}
    _, *lines, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=2):
        try:
            entry = parse(line)
        except ValidationError as error:
            raise CorruptFileError(f"{path}, line {number}: not a {what}; the file was changed by hand") from error
        if entry.key in entries:
            raise CorruptFileError(f"{path}, line {number}: a second {what} on {entry.key}")
        entries[entry.key] = entry
    return entries


def locked(path: Path) -> FileIO:
    """Open a journal's file for appending, locked against other processes until it is closed.

    Raises:
        OutputExistsError: another process is writing to it.
    """
    file = path.open("ab", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # lockf would end with the next reader
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            raise OutputExistsError(f"{path.parent}: another run is writing to it now") from error
        # Some network file systems have no locks; the user must then ensure a single writer.
    return file


class Journal:
    """A journal open for appending, locked; created if missing. An incomplete last line is removed.

    Args:
        path: the file; its directory must exist.
        plan: written as the first line of a new journal.

    Raises:
        OutputExistsError: another process is writing to it.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        self._file = locked(path)
        content = path.read_bytes()
        self._file.truncate(content.rfind(b"\n") + 1)
        if b"\n" not in content:
            self._write(json.dumps({"plan": plan}, sort_keys=True).encode())
            flush_directory(path.parent)

    def append(self, line: bytes) -> None:
        """Write an answer's line and sync it to disk."""
        self._write(line)

    def close(self) -> None:
        """Close the file and release the lock."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        written = self._file.write(line + b"\n")
        if written != len(line) + 1:
            raise StorageError(f"{self.path}: a line was written only in part; is the disk full?")
        os.fsync(self._file.fileno())


@contextmanager
def storage_errors(path: Path, answers: str) -> Iterator[None]:
    """Turn errors of the file system, such as a full disk, into a StorageError that says how to continue.

    Args:
        path: what is written to.
        answers: what answers are called, plural.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or path}: {error.strerror or error}. {answers.capitalize()} so far are kept: once the "
            "cause is fixed, run the same command again"
        ) from error


def prepare(
    path: Path, journal: str, plan: Mapping[str, Any], answers: str, files: tuple[str, ...], *, overwrite: bool
) -> None:
    """Make ``path`` a directory to which answers for ``plan`` can be added.

    Args:
        path: the directory.
        journal: name of the journal in it.
        plan: everything that can change an answer.
        answers: what answers are called, plural.
        files: every other file that a run can write; removed with ``overwrite``.
        overwrite: discard earlier answers.

    Raises:
        OutputExistsError: it contains other files, or answers for another plan and ``overwrite`` is false.
    """
    if (path.exists() or path.is_symlink()) and not path.is_dir():
        raise OutputExistsError(f"{path}: not a directory; the output must be one")
    path.mkdir(parents=True, exist_ok=True)
    before = read_plan(path / journal)
    if before is None:
        others = sorted(entry.name for entry in path.iterdir() if entry.name != journal)
        if others:
            raise OutputExistsError(
                f"{path}: contains {others[0]} and no {answers}; the output must be a new directory"
            )
    elif overwrite:
        with locked(path / journal):
            for name in (*files, journal):
                (path / name).unlink(missing_ok=True)  # the journal last: it marks the directory as ours
    elif differences := plan_differences(before, json.loads(json.dumps(plan))):
        raise OutputExistsError(
            f"{path}: contains {answers} for other settings; use the same settings to continue, or pass --overwrite to "
            f"discard the {answers}. Differences:\n  " + "\n  ".join(differences)
        )
