"""Several machines on one data set: each makes a part, and ``merge`` joins them into what one run would have made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_data.config import Part
from asr_data.errors import CorruptFileError, StorageError
from asr_data.pipeline.finish import finish_scored, mask_and_finish
from asr_data.pipeline.plan import versions
from asr_data.pipeline.preflight import check_directories_apart
from asr_data.pipeline.reporting import report_state
from asr_data.pipeline.scoring import STAGE as SCORE
from asr_data.pipeline.shard_files import ShardNames, WorkShards
from asr_data.pipeline.shard_jobs import stages_of_shard
from asr_data.pipeline.summary import Summary, summary_of
from asr_data.progress import Progress, Silent
from asr_data.rows.schema import input_columns
from asr_data.storage import open_output
from asr_data.storage.manifest import MANIFEST_NAME
from asr_data.storage.output import OutputDirectory
from asr_data.storage.plan import Plan, plan_differences
from asr_data.storage.reader import read_schema
from asr_data.storage.work import ShardRecord, WorkState


@dataclass(frozen=True, slots=True)
class _OpenPart:
    """A directory that holds a part; ``plan`` is that of the whole."""

    path: Path
    part: Part
    plan: Plan
    work: WorkState

    @property
    def shards(self) -> range:
        """Those of this part."""
        return self.part.files(self.plan.shards)

    @property
    def steps(self) -> list[tuple[str, int]]:
        """Stage and shard of everything that is committed in a finished part."""
        return [(stage, index) for stage in stages_of_shard(self.plan) for index in self.shards]


def part_summary(directory: OutputDirectory, shards: range, rows: int, seconds: float, tokens: int) -> Summary:
    """What a part holds once all its shards are done: its rows and rejects; there are no masks yet."""
    stages = stages_of_shard(directory.plan)
    rejects: Counter[str] = Counter()
    annotated = 0
    for stage in stages:
        for index in shards:
            record: Any = directory.committed(stage, index)
            rejects.update(reject["code"] for reject in record.extra.get("rejects", []))
            annotated += record.files[0].rows if stage == stages[-1] else 0
    count = rejects.total()
    return Summary(
        path=directory.path,
        rows=rows,
        annotated=annotated,
        rejected=count,
        rejects=dict(sorted(rejects.items())),
        notes={},
        sides={},
        seconds=seconds,
        tokens=tokens,
        pairs=annotated + count if directory.plan.several_pairs else None,
    )


def merge(
    parts: Sequence[Path],
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Join the parts of a data set into the directory that one run would have made, byte for byte.

    Args:
        parts: every part's directory, in any order; not changed.
        output: another directory.
        resume: see :meth:`asr_data.storage.output.OutputDirectory.create`.
        overwrite: likewise.
        progress: receives the progress.

    Raises:
        StorageError: a part is missing, given twice, not finished, or of another run; the message says which.
        AsrDataError: see :mod:`asr_data.errors`.
    """
    started, progress = time.monotonic(), progress or Silent()
    opened = [_open(path) for path in parts]
    _check_parts(opened, output)
    plan = opened[0].plan
    directory = OutputDirectory.create(output, plan, resume=resume, overwrite=overwrite)
    report_state(directory, progress)
    if not directory.is_finished:
        for part in opened:
            _adopt(directory, part, progress)
        split = plan.output.split
        names = ShardNames(split) if plan.mask is None else ShardNames.intermediate(directory, split)
        schema = read_schema(directory.path / names.rows(0))
        columns = input_columns(schema, plan.input.column_types)
        if plan.mask is None:
            finish_scored(directory, columns)
        else:
            mask_and_finish(directory, plan.mask, columns, WorkShards(directory, names, plan.shards), progress)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, 0)


def _open(path: Path) -> _OpenPart:
    work = WorkState(path)
    part, plan = work.part(), work.plan()
    if part is None or plan is None:
        what = "a finished output" if (path / MANIFEST_NAME).is_file() else "no output of run or score"
        raise StorageError(f"{path}: not a part of a data set (--num-shards): it holds {what}")
    return _OpenPart(path, part, plan, work)


def _check_parts(parts: Sequence[_OpenPart], output: Path) -> None:
    """All of one run, each once, none missing, none unfinished."""
    first, seen = parts[0], dict[int, Path]()
    check_directories_apart([part.path for part in parts], output)
    for part in parts:
        differences = first.plan.differences(part.plan)
        if part.part.num_shards != first.part.num_shards:
            differences.append(f"num_shards: was {first.part.num_shards}, now {part.part.num_shards}")
        if differences:
            lines = "\n  ".join(differences)
            raise StorageError(f"{part.path}: belongs to another run than {first.path}; it differs in:\n  {lines}")
        index = part.part.shard_index
        if index in seen:
            raise StorageError(f"part {index} is given twice: {seen[index]} and {part.path}")
        seen[index] = part.path
    missing = [str(index) for index in range(first.part.num_shards) if index not in seen]
    if missing:
        raise StorageError(f"of {first.part.num_shards} parts, these are missing: {', '.join(missing)}")
    for part in parts:
        left = sum(not part.work.is_recorded(stage, index) for stage, index in part.steps)
        if left:
            raise StorageError(
                f"{part.path}: part {part.part.shard_index} is not finished, {left} of {len(part.steps)} steps "
                "are missing; repeat the command that started it to resume it"
            )
    here = versions()
    if first.plan.versions != here:
        lines = "\n  ".join(plan_differences(first.plan.versions, here))
        raise StorageError(f"the parts were made with other versions than those installed here:\n  {lines}")


def _adopt(directory: OutputDirectory, part: _OpenPart, progress: Progress) -> None:
    for stage, index in part.steps:
        if directory.committed(stage, index) is None:
            record = _record(part, stage, index)
            directory.adopt(record, part.path)
        if stage == SCORE:
            size, rows = part.plan.output.shard_rows, part.plan.input.rows
            progress.update("joining", min(rows, (index + 1) * size), rows, 0)


def _record(part: _OpenPart, stage: str, index: int) -> ShardRecord:
    record = part.work.recorded(stage, index)
    if record is None:
        raise CorruptFileError(
            f"{part.path}: shard {index} of stage {stage!r} was changed since it was written; repeat the command "
            f"that made part {part.part.shard_index} to make it again"
        )
    return record
