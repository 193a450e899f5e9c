"""The verdict journal: everything that was paid for, one line of JSON per verdict.

The first line says what was asked for, the others are verdicts in the order of their arrival. A line is written by a
single call, ends with a newline and is on disk before it counts. What stands after the last newline is a line that a
kill tore: it is cut off when the journal is opened for writing, and its verdict is asked for again.
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
"""Input row, judge and order: what a verdict is about."""


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # a reply may spell half a surrogate pair


_Text = Annotated[str, AfterValidator(_storable)]
_Count = Annotated[int, Field(ge=0)]


class Verdict(BaseModel):
    """What came of asking one judge about one pair in one order.

    Attributes:
        row: index of the input row.
        judge: the judge's name.
        order: which answer was shown first.
        verdict: the better answer; None where there is no verdict.
        safety, accuracy, helpfulness: the better answer in this respect, where the judge said so.
        reason: the judge's words.
        problem: why there is no verdict.
        reply: the last reply, where it could not be read.
        attempts: how often the judge was asked; retries of failed requests do not count.
        tokens_in, tokens_out: as the server counted them, over all attempts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: _Count
    judge: str
    order: Order
    verdict: Pick | None = None
    safety: Pick | None = None
    accuracy: Pick | None = None
    helpfulness: Pick | None = None
    reason: _Text = ""
    problem: _Text | None = None
    reply: _Text | None = None
    attempts: _Count = 1
    tokens_in: _Count = 0
    tokens_out: _Count = 0

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.row, self.judge, self.order


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: dict[str, JsonValue]


def read_plan(path: Path) -> dict[str, JsonValue] | None:
    """What the journal's verdicts are for; None where there is no journal, or none whose first line is whole.

    Raises:
        CorruptFileError: the file is something else.
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
        raise CorruptFileError(f"{path}, line 1: is not the beginning of a verdict journal") from error


def read_verdicts(path: Path) -> dict[Key, Verdict]:
    """Every verdict of a journal; a torn last line is passed over.

    Raises:
        CorruptFileError: another line is not a verdict, or a verdict is there twice.
    """
    verdicts: dict[Key, Verdict] = {}
    _, *lines, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=2):
        try:
            verdict = Verdict.model_validate_json(line)
        except ValidationError as error:
            raise CorruptFileError(f"{path}, line {number}: is not a verdict; it was changed after writing") from error
        if verdict.key in verdicts:
            raise CorruptFileError(f"{path}, line {number}: a second verdict on {verdict.key}")
        verdicts[verdict.key] = verdict
    return verdicts


def locked(path: Path) -> FileIO:
    """A journal's file, open for appending by this process alone until it is closed.

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
        # Some network file systems have no locks; one writer is then the user's to ensure.
    return file


class Journal:
    """A journal open for appending by this process alone; made if need be, and freed of a torn last line.

    Args:
        path: the file; its directory exists.
        plan: written first, where nothing is there yet.

    Raises:
        OutputExistsError: another process is writing to it.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self._path = path
        self._file = locked(path)
        content = path.read_bytes()
        self._file.truncate(content.rfind(b"\n") + 1)
        if b"\n" not in content:
            self._write(json.dumps({"plan": plan}, sort_keys=True).encode())
            flush_directory(path.parent)

    def append(self, verdict: Verdict) -> None:
        """Puts a verdict on disk."""
        self._write(verdict.model_dump_json(exclude_defaults=True).encode())

    def close(self) -> None:
        """Closes the file and lets others write."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        written = self._file.write(line + b"\n")
        if written != len(line) + 1:
            raise StorageError(f"{self._path}: a line could not be written whole; is the disk full?")
        os.fsync(self._file.fileno())
