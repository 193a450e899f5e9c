"""``.asr-work/``: what an unfinished run has done so far.

    plan.json                    what was asked for; makes the directory ours
    part.json                    where only a part of the shards is done here: which
    lock                         held by the process that writes
    claims/PATH                  an empty file per output file that this run may have created (slashes quoted)
    shards/STAGE-INDEX.json      the files that a shard committed, with their checksums and its own
    discard.json                 while an older output is being removed: the files still to go

Everything else in it is intermediate and belongs to the stage that put it there.
"""

from __future__ import annotations

import json
import logging
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from asr_data.config import Part
from asr_data.errors import CorruptFileError, StorageError
from asr_data.storage.commit import FileRecord, check_file, commit_bytes, explained, flush_directory, reached
from asr_data.storage.lock import owner, shard_lock, take_lock
from asr_data.storage.plan import Plan
from asr_data.storage.seal import parse_json, sealed_json, unsealed

WORK_NAME: Final = ".asr-work"

_Model = TypeVar("_Model", bound=BaseModel)

logger = logging.getLogger(__name__)

_PATIENCE: Final = 60.0
"""Seconds that a new run waits for the workers of one that died."""


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

    Attributes:
        owner: who has the lock, on whose behalf this object writes.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / WORK_NAME
        self._verified: dict[tuple[str, int], ShardRecord] = {}
        self._unlock: Callable[[], object] = lambda: None
        self.owner: dict[str, Any] = {}

    def lock(self) -> None:
        """Keeps other processes out until this object is gone or the process ends.

        Raises:
            OutputExistsError: another process is writing here.
        """
        with explained(self.path):
            self.owner, release = take_lock(self.path)
        self._unlock = weakref.finalize(self, release)
        for path in sorted((self.path / "shards").glob("*.lock")):
            with shard_lock(path, patience=_PATIENCE):
                pass  # a worker of a driver that died was at work on it until now

    @contextmanager
    def holding(self, index: int) -> Iterator[None]:
        """Holds a shard on behalf of ``owner``, who has the lock of the directory.

        Raises:
            StorageError: the directory belongs to another owner by now, or is gone.
        """
        path = self.path / "shards" / f"{index:05d}.lock"
        if not path.parent.is_dir():
            raise StorageError(f"{self.directory}: the output that this worker writes to no longer exists")
        with shard_lock(path):
            if owner(self.path) != self.owner:
                raise StorageError(f"{self.directory}: another run took over from this worker's")
            yield

    def plan(self) -> Plan | None:
        """The plan of the unfinished run; None where none was written yet.

        Raises:
            CorruptFileError: it is not what was written.
        """
        path = self.path / "plan.json"
        if path.is_file() and not (self.path / "part.json").is_file():
            content = parse_json(path, path.read_bytes())
            if isinstance(content, dict) and "sha256" not in content:  # begun before plans were sealed
                return _validated(path, Plan, content)
        return self._read("plan.json", Plan)

    def part(self) -> Part | None:
        """Which part of the shards is done here; None for all.

        Raises:
            CorruptFileError: it is not what was written.
        """
        return self._read("part.json", Part)

    def _read(self, name: str, kind: type[_Model]) -> _Model | None:
        path = self.path / name
        if not path.is_file():
            return None
        return _validated(path, kind, unsealed(path, path.read_bytes()))

    def begin(self, plan: Plan, part: Part | None) -> None:
        """Records what was asked for; from here on the directory can be resumed."""
        with explained(self.path):
            (self.path / "shards").mkdir(exist_ok=True)
        path = self.path / "part.json"
        if part is None:
            path.unlink(missing_ok=True)
        else:
            commit_bytes(path, sealed_json(part.model_dump()))
        commit_bytes(self.path / "plan.json", sealed_json(plan.to_json()))

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

    def is_recorded(self, stage: str, index: int) -> bool:
        """Whether there is a record of the shard; :meth:`recorded` says whether it still holds."""
        return self._shard_path(stage, index).is_file()

    def has_begun(self, stage: str) -> bool:
        """Whether any shard of the stage was committed."""
        return any((self.path / "shards").glob(f"{stage}-*.json"))

    def recorded(self, stage: str, index: int) -> ShardRecord | None:
        """The record of a shard whose files are all unchanged; None where it has to be computed again.

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
            logger.warning("%s; shard %d of stage %s is computed again", error, index, stage)
            return None
        self._verified[stage, index] = shard
        return shard

    def forget_shards(self) -> None:
        """Removes the records of all shards; their files stay, and are written anew."""
        for path in sorted((self.path / "shards").glob("*.json")):
            path.unlink()
        flush_directory(self.path / "shards")
        self._verified.clear()

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
            elif folder.name not in ("lock", "owner", note.name):
                folder.unlink()
        note.unlink()

    def remove(self) -> None:
        """Removes the work state, intermediate files included."""
        with explained(self.path):
            shutil.rmtree(self.path)
            flush_directory(self.directory)
        self._unlock()

    def _shard_path(self, stage: str, index: int) -> Path:
        return self.path / "shards" / f"{stage}-{index:05d}.json"


def _validated(path: Path, kind: type[_Model], content: dict[str, Any]) -> _Model:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise CorruptFileError(f"{path}: is not what was written: {error}") from error


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
