"""``.asr-work/``: what an unfinished run has done so far.

    plan.json                    what was asked for; makes the directory ours
    lock                         held by the process that writes
    claims/PATH                  an empty file per output file that this run may have created (slashes quoted)
    shards/STAGE-INDEX.json      the files that a shard committed, with their checksums and its own
    discard.json                 while an older output is being removed: the files still to go

Everything else in it is intermediate and belongs to the stage that put it there.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from asr_data.errors import CorruptFileError, OutputExistsError
from asr_data.storage.commit import FileRecord, check_file, commit_bytes, explained, flush_directory, reached
from asr_data.storage.seal import parse_json, sealed_json, unsealed

WORK_NAME: Final = ".asr-work"

logger = logging.getLogger(__name__)


class ShardRecord(BaseModel):
    """What one shard of one stage committed.

    Attributes:
        stage: name of the stage.
        index: number of the shard, from 0.
        files: what was written, paths relative to the output directory.
        extra: whatever the stage wants to find again, such as counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    index: int
    files: tuple[FileRecord, ...]
    extra: dict[str, JsonValue] = {}


class WorkState:
    """Reads and writes the work state of one output directory.

    Args:
        directory: the output directory, which exists.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / WORK_NAME
        self._verified: dict[tuple[str, int], ShardRecord] = {}

    def lock(self) -> None:
        """Keeps other processes out until this object is gone or the process ends.

        Raises:
            OutputExistsError: another process is writing here.
        """
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise OutputExistsError(f"{self.directory}: another run is writing to it now") from error
            # Some network file systems have no locks; one writer is then the user's to ensure.
        weakref.finalize(self, os.close, descriptor)

    def plan(self) -> dict[str, JsonValue] | None:
        """The plan of the unfinished run; None where none was written yet."""
        path = self.path / "plan.json"
        if not path.is_file():
            return None
        content = _read_json(path)
        if not isinstance(content, dict):
            raise CorruptFileError(f"{path}: is not a JSON object")
        return content

    def write_plan(self, plan: Mapping[str, JsonValue]) -> None:
        """Records what was asked for; from here on the directory can be resumed."""
        commit_bytes(self.path / "plan.json", _json_bytes(dict(plan)))

    def claim(self, paths: Iterable[str]) -> None:
        """Notes, before they exist, that these files are ours to overwrite and to remove."""
        claims = self.path / "claims"
        with explained(claims):
            claims.mkdir(parents=True, exist_ok=True)
            for path in paths:
                (claims / quote(path, safe="")).touch()
            flush_directory(claims)
        reached("claimed", claims)

    def claimed(self) -> list[str]:
        """Every path that was claimed, in order of name."""
        claims = self.path / "claims"
        return sorted(unquote(path.name) for path in claims.iterdir()) if claims.is_dir() else []

    def record(self, shard: ShardRecord) -> None:
        """Records a shard whose files are all committed."""
        path = self._shard_path(shard.stage, shard.index)
        commit_bytes(path, sealed_json(shard.model_dump(mode="json")))
        self._verified[shard.stage, shard.index] = shard
        reached("recorded", path)

    def recorded(self, stage: str, index: int) -> ShardRecord | None:
        """The record of a shard, if all its files are what they were; else None, and it is to be done again.

        Files are read in full the first time this object is asked for the shard.
        """
        if (stage, index) in self._verified:
            return self._verified[stage, index]
        path = self._shard_path(stage, index)
        if not path.is_file():
            return None
        try:
            shard = ShardRecord.model_validate(unsealed(path, path.read_bytes()))
            for record in shard.files:
                check_file(self.directory, record)
        except (ValidationError, CorruptFileError) as error:
            logger.warning("%s; shard %d of stage %s is done again", error, index, stage)
            return None
        self._verified[stage, index] = shard
        return shard

    def begin_discard(self, paths: Iterable[str]) -> None:
        """Notes which files of an older output are to be removed, so that a kill leaves no orphans."""
        commit_bytes(self.path / "discard.json", _json_bytes([*paths, *self.claimed()]))

    def finish_discard(self) -> None:
        """Removes what :meth:`begin_discard` noted and the older work state; without a note, nothing."""
        note = self.path / "discard.json"
        if not note.is_file():
            return
        content = _read_json(note)
        for path in _discardable(self.directory, content):
            path.unlink(missing_ok=True)
            path.with_name(f".{path.name}.partial").unlink(missing_ok=True)
            if path.parent != self.directory and path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
        flush_directory(self.directory)
        self._verified.clear()
        (self.path / "plan.json").unlink(missing_ok=True)
        for folder in self.path.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
            elif folder.name not in ("lock", note.name):
                folder.unlink()
        note.unlink()

    def remove(self) -> None:
        """Removes the work state, intermediate files included."""
        with explained(self.path):
            shutil.rmtree(self.path)
            flush_directory(self.directory)

    def _shard_path(self, stage: str, index: int) -> Path:
        return self.path / "shards" / f"{stage}-{index:05d}.json"


def _discardable(directory: Path, names: JsonValue) -> Iterator[Path]:
    """Only files inside the directory: a manifest is a file that anyone can have written."""
    for name in names if isinstance(names, list) else []:
        path = directory / str(name)
        if path.parent.resolve().is_relative_to(directory.resolve()) and not path.is_dir():
            yield path


def _json_bytes(value: JsonValue) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _read_json(path: Path) -> JsonValue:
    content: JsonValue = parse_json(path, path.read_bytes())
    return content
