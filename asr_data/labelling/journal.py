"""A journal of labels: one line of JSON for each thing that a person did.

A line is a row that any reader of this package takes: ``prompt``, ``completion``, and ``completion_spans``, which are
error spans (see ``docs/labels.md``) where the person was done with the response, and null before. So the file is
training data as it stands. It is appended to, and synced, before the person is told so. When a person judges a response
again, the earlier judgement's spans become null: then the file is replaced by one that was written whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr_data.critique.reply import SEVERITIES, Severity
from asr_data.endpoints.journal import locked
from asr_data.errors import CorruptFileError, OutputExistsError, StorageError
from asr_data.response import contents_text
from asr_data.storage.commit import flush_directory
from asr_data.types import Side, Text

__all__ = ["SEVERITIES", "Severity", "Key", "Mark", "Entry", "LabelJournal", "read_entries", "last_done", "response_of"]

Key: TypeAlias = tuple[str, int, int, Side]
"""Who, which input row, which pair of it, which response."""


class Mark(BaseModel):
    """A fault: code points ``[start, end)`` of the response's contents, what sort of fault, and how bad."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]
    type: Annotated[str, Field(min_length=1, max_length=60)]
    severity: Severity

    @model_validator(mode="after")
    def _is_a_span(self) -> Mark:
        if self.start >= self.end:
            raise ValueError(f"[{self.start}, {self.end}) is empty")
        return self


class Entry(BaseModel):
    """One line.

    Attributes:
        asr_row, asr_pair, side: the response; ``asr_pair`` is 0 where a row is one pair.
        annotator: who.
        status: ``open`` while marks are made, ``done``, or ``skipped``; ``replaced`` where a later line is meant.
        prompt, completion: as the row has them.
        marks: the faults so far.
        completion_spans: the same where the status is ``done``; else null, which readers take for unknown.
        chosen_by: how the response came up: ``disagreement``, ``chance`` or ``hand``.
        blind: whether scores and verdict were hidden throughout.
        seconds: since the response was shown.
        at: when, in UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    asr_row: Annotated[int, Field(ge=0)]
    asr_pair: Annotated[int, Field(ge=0)] = 0
    side: Side
    annotator: Annotated[str, Field(min_length=1, max_length=100)]
    status: Literal["open", "done", "skipped", "replaced"]
    prompt: str | list[dict[str, Any]]
    completion: str | list[dict[str, Any]]
    marks: tuple[Mark, ...] = ()
    completion_spans: tuple[Mark, ...] | None = None
    chosen_by: Literal["disagreement", "chance", "hand"] = "hand"
    blind: bool = True
    seconds: Annotated[float, Field(ge=0)] = 0.0
    at: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Entry:
        if (self.completion_spans is not None) != (self.status == "done"):
            raise ValueError("completion_spans are those of a response that is done")
        size = len(contents_text(self.completion))
        for mark in self.marks:
            if mark.end > size:
                raise ValueError(f"a mark ends at {mark.end}, in {size} characters")
        return self

    @property
    def key(self) -> Key:
        """Whose judgement of which response."""
        return self.annotator, self.asr_row, self.asr_pair, self.side


def read_entries(path: Path) -> list[Entry]:
    """All lines in order; text after the last newline is a line cut short by a crash, and left out.

    Raises:
        CorruptFileError: another line is not one of a journal of labels.
        StorageError: it cannot be read.
    """
    try:
        *lines, _torn = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Entry.model_validate_json(line))
        except ValidationError as error:
            what = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
            raise CorruptFileError(f"{path}, line {number}: not a line of a journal of labels: {what}") from error
    return found


def last_done(entries: Iterable[Entry]) -> dict[Key, Entry]:
    """The judgements that count: each person's last one of each response."""
    return {entry.key: entry for entry in entries if entry.status == "done"}


class LabelJournal:
    """A journal open for appending, created if missing; other processes cannot open it meanwhile.

    Args:
        path: the file; its folder must exist.

    Attributes:
        entries: all lines so far.

    Raises:
        OutputExistsError: another process has it open, or it is a link.
        CorruptFileError: it is something else.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        if path.is_symlink():
            raise OutputExistsError(f"{path}: is a symbolic link; name the file itself")
        self.path = path
        try:
            self._file: FileIO = locked(path)
        except OutputExistsError as error:
            raise OutputExistsError(f"{path}: another asr-annotate view is labelling into it now") from error
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            self.entries = read_entries(path)
            self._file.truncate(path.read_bytes().rfind(b"\n") + 1)
            flush_directory(path.parent)
        except Exception:
            self._file.close()
            raise

    def add(self, entry: Entry) -> None:
        """Append a line; it is on disk when this returns. A second ``done`` takes the place of the first.

        Raises:
            StorageError: it cannot be written; what was there is unchanged.
        """
        earlier = last_done(self.entries).get(entry.key) if entry.status == "done" else None
        try:
            if earlier is None:
                self._append(_line(entry))
            else:
                self._rewrite([*(_replaced(one) if one is earlier else one for one in self.entries), entry])
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}; the label is not kept") from error
        if earlier is not None:
            self.entries = [_replaced(one) if one is earlier else one for one in self.entries]
        self.entries.append(entry)

    def latest(self, annotator: str) -> Mapping[tuple[int, int, Side], Entry]:
        """A person's last line on each response."""
        return {entry.key[1:]: entry for entry in self.entries if entry.annotator == annotator}

    def close(self) -> None:
        """Let others open it."""
        self._file.close()

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(size)  # half a line would spoil the next one
            raise

    def _rewrite(self, entries: Sequence[Entry]) -> None:
        """Replace the file; the lock goes over to the new one before anybody can see it."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        file = temporary.open("xb", buffering=0)
        try:
            content = b"".join(map(_line, entries))
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.replace(self.path)
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
        flush_directory(self.path.parent)
        self._file.close()
        self._file = file


def _replaced(entry: Entry) -> Entry:
    return entry.model_copy(update={"status": "replaced", "completion_spans": None})


def _line(entry: Entry) -> bytes:
    return entry.model_dump_json().encode("utf-8", "surrogatepass") + b"\n"


def response_of(content: Text) -> str | list[dict[str, Any]]:
    """A completion or prompt as a line holds it."""
    return content if isinstance(content, str) else [dict(message) for message in content]
