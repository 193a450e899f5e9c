"""The directory a run writes to: who may write, what is done already, and the manifest last."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa
from pydantic import JsonValue

from asr_data.config import Part
from asr_data.errors import ConfigError, CorruptFileError, OutputExistsError, StorageError
from asr_data.storage.commit import (
    check_file,
    commit_bytes,
    commit_copy,
    commit_parquet,
    explained,
    file_sha256,
    reached,
)
from asr_data.storage.manifest import CARD_NAME, MANIFEST_NAME, Manifest, load_manifest
from asr_data.storage.plan import Plan, canonical_json, plain_json, plan_differences
from asr_data.storage.work import WORK_NAME, ShardRecord, WorkState

_BOTH_FLAGS: Final = "--resume and --overwrite exclude each other: pass one of them"
_BEFORE_MASKS: Final = "align"
_MASKED: Final = "mask"
"""Stages of a run: the one that the settings of segments and masks decide, and the one before it."""
_FOLDERS: Final = ("data", "scores", "logprobs", "rejects")

Rows: TypeAlias = tuple[pa.Schema, Iterable[pa.RecordBatch | pa.Table]]
"""A table to be written: its schema and its rows, in batches."""


class OutputDirectory:
    """An output directory that this process writes. Made by :meth:`create`.

    Attributes:
        path: the directory.
        plan: what was asked for.
        is_finished: the output was complete already when it was opened; there is nothing to do.
        is_continued: an earlier run had begun it.
    """

    def __init__(self, path: Path, plan: Plan, work: WorkState, *, is_finished: bool, is_continued: bool) -> None:
        self.path = path
        self.plan = plan
        self.is_finished, self.is_continued = is_finished, is_continued
        self._work = work

    @classmethod
    def create(
        cls,
        path: Path,
        plan: Plan,
        *,
        resume: bool = False,
        overwrite: bool = False,
        part: Part | None = None,
    ) -> OutputDirectory:
        """Opens ``path`` for writing and creates it if needed.

        Resumes what an earlier run with the same plan has committed; an output that it finished is checked and left
        unchanged. Where all is scored and nothing is masked yet, settings of segments and masks may be other ones.

        Args:
            path: the directory: new, empty, or started with the same plan, unless ``overwrite`` is given.
            plan: everything that can change the output; resuming compares it.
            resume: states the intent to resume; an unfinished output is resumed without it, too.
            overwrite: remove an earlier output first; files that are not ours stay.
            part: only this part of the shards will be committed here.

        Raises:
            ConfigError: both flags at once, or a plan without a JSON form.
            OutputExistsError: the path holds something else; an output of another plan (the message lists what
                differs); or another process writes to it.
            CorruptFileError: the output is finished, but some of its files have changed since.
        """
        if resume and overwrite:
            raise ConfigError(_BOTH_FLAGS)
        canonical_json(plan.to_json())  # raises now, not when it is compared
        _refuse_links(path)
        if _inspect(path) == "finished" and not overwrite and not (path / WORK_NAME).exists():
            return cls._reopen(path, plan, part)
        work = WorkState(path)
        work.lock()
        found = _inspect(path)  # again: until now others could write
        if found == "finished" and not overwrite:
            work.remove()  # killed between the manifest and the clean-up
            return cls._reopen(path, plan, part)
        work.finish_discard()  # of a run that was killed while it removed an older output
        if found != "new" and overwrite:
            work.begin_discard(_removable(path))
            work.finish_discard()
        before = work.plan()
        if before is None or _is_masked_anew(work, before, plan, part):
            work.begin(plan, part)
        else:
            _require_same_plan(path, _with_part(before, work.part()), _with_part(plan, part))
        return cls(path, plan, work, is_finished=False, is_continued=before is not None)

    @staticmethod
    def refuse_other(
        path: Path,
        known: Mapping[str, JsonValue],
        *,
        resume: bool = False,
        overwrite: bool = False,
        part: Part | None = None,
    ) -> None:
        """Refuses, before models are loaded, what :meth:`create` would refuse after. Writes nothing.

        Args:
            path: the directory.
            known: the members of the plan that are known already, as JSON values. Of ``scorer`` some may be missing,
                and of ``mask`` the baseline; None for a member that is not asked for.
            resume: see :meth:`create`.
            overwrite: see :meth:`create`.
            part: see :meth:`create`.

        Raises:
            ConfigError: see :meth:`create`.
            OutputExistsError: see :meth:`create`.
        """
        if resume and overwrite:
            raise ConfigError(_BOTH_FLAGS)
        _refuse_links(path)
        found = _inspect(path)
        if found == "new" or overwrite:
            return
        work = WorkState(path)
        before = load_manifest(path).plan if found == "finished" else work.plan()
        if before is None:
            return
        recorded = _with_part(before, None if found == "finished" else work.part())
        scorer: Any = known.get("scorer") or {}
        comparable = {name: recorded[name] for name in (*known, *Part.model_fields) if name in recorded}
        if scorer:  # a settings file names none
            comparable["scorer"] = {name: getattr(before.scorer, name) for name in scorer}
        mask: Any = known.get("mask") or {}
        masked: Any = comparable.get("mask")
        if mask and masked and "baseline" not in mask:  # it is the scorer's to choose
            comparable["mask"] = {name: value for name, value in masked.items() if name != "baseline"}
        asked = {name: value for name, value in known.items() if value is not None}
        if found != "finished" and "mask" in asked and _takes_other_masks(work, before, part):
            comparable["mask"] = asked["mask"]
        _require_same_plan(path, comparable, {**asked, **({} if part is None else part.model_dump())})

    @classmethod
    def _reopen(cls, path: Path, plan: Plan, part: Part | None) -> OutputDirectory:
        manifest = load_manifest(path)
        _require_same_plan(path, manifest.plan.to_json(), _with_part(plan, part))
        _check_finished(path, manifest)
        return cls(path, plan, WorkState(path), is_finished=True, is_continued=True)

    @property
    def owner(self) -> dict[str, Any]:
        """Who has the lock, for :meth:`join`."""
        return self._work.owner

    @classmethod
    def join(cls, path: Path, plan: Plan, owner: dict[str, Any]) -> OutputDirectory:
        """Opens an output that ``owner`` has begun and holds, to commit shards of it on its behalf."""
        work = WorkState(path)
        work.owner = owner
        return cls(path, plan, work, is_finished=False, is_continued=True)

    @contextmanager
    def holding(self, index: int) -> Iterator[None]:
        """Keeps other processes from the shard inside the block; waits for one that has it.

        Where several processes commit shards, one that is believed dead may be at work still.

        Raises:
            StorageError: the directory is not the owner's any more.
        """
        with self._work.holding(index):
            yield

    def committed(self, stage: str, index: int) -> ShardRecord | None:
        """The record of a shard that need not be done again; its files were checked by SHA-256.

        None where the shard was not committed, or where a file of it is missing or changed.
        """
        return self._work.recorded(stage, index)

    def commit_shard(
        self, stage: str, index: int, tables: Mapping[str, Rows], extra: Mapping[str, JsonValue] | None = None
    ) -> ShardRecord:
        """Writes the files of one shard, then records them. Doing it again gives the same files.

        Args:
            stage: name of the stage.
            index: number of the shard, from 0.
            tables: path relative to the directory (see :meth:`work_path` for intermediate ones) to rows.
            extra: JSON values to find again in the record.

        Raises:
            StorageError: the output is finished, or rows that do not have their schema.
        """
        self._require_unfinished()
        self._work.claim(name for name in tables if not name.startswith(f"{WORK_NAME}/"))
        files = tuple(
            commit_parquet(self.path / name, batches, schema, root=self.path)
            for name, (schema, batches) in tables.items()
        )
        shard = ShardRecord(stage=stage, index=index, files=files, extra=plain_json(extra or {}))
        self._work.record(shard)
        return shard

    def forget_shards(self) -> None:
        """Makes every shard one that is still to be done: their files are of an input that has changed."""
        self._require_unfinished()
        self._work.forget_shards()

    def adopt(self, shard: ShardRecord, origin: Path) -> None:
        """Takes over a shard that was committed in another directory; that one stays as it is.

        Raises:
            CorruptFileError: a file of it is not there as recorded.
        """
        self._require_unfinished()
        self._work.claim(file.path for file in shard.files if not file.path.startswith(f"{WORK_NAME}/"))
        for file in shard.files:
            commit_copy(check_file(origin, file), self.path / file.path, file)
        self._work.record(shard)

    def work_path(self, name: str) -> Path:
        """A path for an intermediate file; it lasts until :meth:`finish`. Its folder exists."""
        path = self._work.path / "intermediate" / name
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, manifest: Manifest, card: str) -> Manifest:
        """Writes the card, then the manifest, then removes the work state.

        Args:
            manifest: describes every Parquet file of the directory.
            card: text of ``README.md``.

        Returns:
            The manifest as written.

        Raises:
            StorageError: the output is finished already.
            CorruptFileError: a file of the manifest is not there as described.
        """
        self._require_unfinished()
        for record in manifest.files:
            if not (self.path / record.path).is_file():
                raise CorruptFileError(f"{self.path / record.path}: listed in the manifest, but missing")
        described = card.encode()
        manifest = manifest.model_copy(update={"card_sha256": hashlib.sha256(described).hexdigest()})
        self._work.claim([CARD_NAME])
        commit_bytes(self.path / CARD_NAME, described)
        reached("described", self.path / CARD_NAME)
        commit_bytes(self.path / MANIFEST_NAME, manifest.to_bytes())
        reached("finished", self.path / MANIFEST_NAME)
        self._work.remove()
        reached("cleaned", self.path)
        self.is_finished = True
        return manifest

    def _require_unfinished(self) -> None:
        if self.is_finished:
            raise StorageError(f"{self.path}: is finished and cannot be written to")


def _inspect(path: Path) -> str:
    """``new``, ``unfinished`` or ``finished``; what is not ours is refused."""
    if path.is_symlink() and not path.exists():
        raise OutputExistsError(f"{path}: is a symbolic link to {path.readlink()}, which does not exist")
    if not path.exists():
        return "new"
    if not path.is_dir():
        raise OutputExistsError(f"{path}: is a file; the output must be a directory")
    if (path / WORK_NAME / "discard.json").is_file():
        return "unfinished"
    if (path / MANIFEST_NAME).is_file():
        try:
            load_manifest(path)
        except CorruptFileError as error:
            raise OutputExistsError(f"{path}: is not an output that this version can read: {error}") from error
        return "finished"
    if (path / WORK_NAME / "plan.json").is_file():
        return "unfinished"
    names = sorted(entry.name for entry in path.iterdir() if entry.name != WORK_NAME)
    if names:
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise OutputExistsError(
            f"{path}: holds {listed}, and no {MANIFEST_NAME}: asr-annotate did not write this, or the manifest is "
            "lost; the output must be a new or empty directory"
        )
    return "new"  # empty, or killed before the plan was written


def _refuse_links(path: Path) -> None:
    """Through a link to a folder we would write, and remove, outside of the directory."""
    ours = [path / name for name in (WORK_NAME, *_FOLDERS)]
    inside = [Path(root, name) for root, folders, files in os.walk(path / WORK_NAME) for name in (*folders, *files)]
    links = [entry for entry in (*ours, *inside) if entry.is_symlink()]
    if links:
        raise OutputExistsError(
            f"{links[0]}: is a symbolic link that asr-annotate did not create; all of the output must lie in {path}"
        )


def _removable(path: Path) -> list[str]:
    """Files of a finished output, manifest first: without it, no reader takes the rest for an output."""
    if not (path / MANIFEST_NAME).is_file():
        return []
    files = [record.path for record in load_manifest(path).files if record.path.endswith(".parquet")]
    return [MANIFEST_NAME, CARD_NAME, *files]


def _with_part(plan: Plan, part: Part | None) -> dict[str, JsonValue]:
    return {**plan.to_json(), **({} if part is None else part.model_dump())}


def _is_masked_anew(work: WorkState, before: Plan, plan: Plan, part: Part | None) -> bool:
    """Whether a plan differs from the one before in settings that have had no effect yet."""
    if plan.mask is None or not _takes_other_masks(work, before, part):
        return False
    return before.model_copy(update={"mask": plan.mask, "config_sha256": plan.config_sha256}) == plan


def _takes_other_masks(work: WorkState, before: Plan, part: Part | None) -> bool:
    """Whether an unfinished output has all that goes before the masks, and nothing of them."""
    if before.mask is None or part is not None or work.part() is not None or work.has_begun(_MASKED):
        return False
    return all(work.is_recorded(_BEFORE_MASKS, index) for index in range(before.shards))


def _require_same_plan(path: Path, before: Mapping[str, JsonValue], asked: Mapping[str, JsonValue]) -> None:
    differences = plan_differences(before, asked)
    if differences:
        raise OutputExistsError(
            f"{path}: holds an output that was started with other settings and cannot be resumed with these; use the "
            "same settings, another directory, or --overwrite to replace it:\n  " + "\n  ".join(differences)
        )


def _check_finished(path: Path, manifest: Manifest) -> None:
    problems = []
    for record in manifest.files:
        try:
            check_file(path, record)
        except CorruptFileError as error:
            problems.append(str(error))
    card = path / CARD_NAME
    if not card.is_file() or file_sha256(card) != manifest.card_sha256:
        problems.append(f"{card}: missing, or not the card that was written")
    if problems:
        raise CorruptFileError(
            f"{path}: is finished, but files have changed since it was written; pass --overwrite to replace it:\n  "
            + "\n  ".join(problems)
        )
