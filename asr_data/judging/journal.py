"""The verdict journal: one line of JSON per verdict.

The first line is the plan, the others are verdicts in order of arrival. A line is written by a single call, ends with
a newline and is synced to disk before it counts. Text after the last newline is a line cut short by a kill: it is
removed when the journal is opened for writing, and its verdict is requested again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from asr_data.errors import CorruptFileError, OutputExistsError, StorageError
from asr_data.judging.verdict import Order, Pick
from asr_data.storage.commit import flush_directory

JOURNAL_NAME: Final = "verdicts.jsonl"

Key: TypeAlias = tuple[int, str, Order]
"""Input row, judge and order, which identify a verdict."""


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # a reply may contain half of a surrogate pair


_Text = Annotated[str, AfterValidator(_storable)]
_Count = Annotated[int, Field(ge=0)]


class Verdict(BaseModel):
    """The verdict of one judge on one pair in one order, or why it is missing.

    Attributes:
        row: index of the input row.
        judge: the judge's name.
        order: which answer was shown first.
        verdict: the better answer; None if the verdict is missing.
        safety, accuracy, helpfulness: the better answer by this criterion, if the judge gave one.
        tags: what decided, in the judge's words, if its replies have the form with ``tag``.
        reason: the judge's explanation.
        problem: why the verdict is missing.
        reply: the last reply, if it could not be parsed.
        attempts: number of requests, without retries of failed ones.
        tokens_in, tokens_out: as counted by the server, over all attempts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: _Count
    judge: str
    order: Order
    verdict: Pick | None = None
    safety: Pick | None = None
    accuracy: Pick | None = None
    helpfulness: Pick | None = None
    tags: tuple[_Text, ...] = ()
    reason: _Text = ""
    problem: _Text | None = None
    reply: _Text | None = None
    attempts: _Count = 1
    tokens_in: _Count = 0
    tokens_out: _Count = 0

    @property
    def key(self) -> Key:
        """Row, judge and order."""
        return self.row, self.judge, self.order


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
        raise CorruptFileError(f"{path}, line 1: not the first line of a verdict journal") from error


def read_verdicts(path: Path) -> dict[Key, Verdict]:
    """All verdicts of a journal; an incomplete last line is ignored.

    Raises:
        CorruptFileError: another line is not a verdict, or a verdict occurs twice.
    """
    verdicts: dict[Key, Verdict] = {}
    _, *lines, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=2):
        try:
            verdict = Verdict.model_validate_json(line)
        except ValidationError as error:
            raise CorruptFileError(f"{path}, line {number}: not a verdict; the file was changed by hand") from error
        if verdict.key in verdicts:
            raise CorruptFileError(f"{path}, line {number}: a second verdict on {verdict.key}")
        verdicts[verdict.key] = verdict
    return verdicts


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

    def append(self, verdict: Verdict) -> None:
        """Write a verdict and sync it to disk."""
        self._write(verdict.model_dump_json(exclude_defaults=True).encode())

    def close(self) -> None:
        """Close the file and release the lock."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        written = self._file.write(line + b"\n")
        if written != len(line) + 1:
            raise StorageError(f"{self.path}: a line was written only in part; is the disk full?")
        os.fsync(self._file.fileno())
