"""One data set, several machines: each makes a part, and ``merge`` makes of the parts what one run would have made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from asr_data.config import MaskConfig, OutputConfig, Part
from asr_data.errors import CorruptFileError, StorageError
from asr_data.pipeline.finish import finish_scored, mask_and_finish
from asr_data.pipeline.plan import versions
from asr_data.pipeline.reporting import report_state
from asr_data.pipeline.scoring import STAGE as SCORE
from asr_data.pipeline.shard_files import ShardNames, WorkShards
from asr_data.pipeline.shard_jobs import stages_apart
from asr_data.pipeline.summary import Summary, summary_of
from asr_data.progress import Progress, Silent
from asr_data.rows import Layout
from asr_data.rows.schema import storable
from asr_data.storage import open_output
from asr_data.storage.manifest import MANIFEST_NAME, run_id
from asr_data.storage.output import OutputDirectory
from asr_data.storage.plan import plan_differences
from asr_data.storage.reader import read_schema
from asr_data.storage.work import ShardRecord, WorkState


@dataclass(frozen=True, slots=True)
class _OpenPart:
    """A directory that holds a part; ``plan`` is that of the whole."""

    path: Path
    part: Part
    plan: dict[str, Any]
    work: WorkState

    @property
    def total(self) -> int:
        """Shards of the whole."""
        return -(-int(self.plan["input"]["rows"]) // int(self.plan["output"]["shard_rows"]))

    @property
    def shards(self) -> range:
        """Those of this part."""
        return self.part.files(self.total)

    @property
    def stages(self) -> list[str]:
        """What is committed for each shard."""
        return stages_apart(reference="reference" in self.plan, masked="mask" in self.plan)


def part_summary(directory: OutputDirectory, shards: range, rows: int, seconds: float, tokens: int) -> Summary:
    """What a part holds once all its shards are done: its rows and rejects; there are no masks yet."""
    stages = stages_apart(reference="reference" in directory.plan, masked="mask" in directory.plan)
    rejects: Counter[str] = Counter()
    for stage in stages:
        for index in shards:
            record: Any = directory.committed(stage, index)
            rejects.update(reject["code"] for reject in record.extra.get("rejects", []))
    count = rejects.total()
    return Summary(directory.path, rows, rows - count, count, dict(sorted(rejects.items())), {}, {}, seconds, tokens)


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
        progress: told how far it is.

    Raises:
        StorageError: a part is missing, given twice, not finished, or of another run; the message says which.
        AsrDataError: see :mod:`asr_data.errors`.
    """
    started, progress = time.monotonic(), progress or Silent()
    opened = [_open(path) for path in parts]
    _check_parts(opened, output)
    first = opened[0]
    directory = OutputDirectory.create(output, first.plan, resume=resume, overwrite=overwrite)
    report_state(directory, progress)
    if not directory.is_finished:
        for part in opened:
            _adopt(directory, part, progress)
        split = first.plan["output"]["split"]
        names = ShardNames.intermediate(directory, split) if "mask" in first.plan else ShardNames(split)
        schema = read_schema(directory.path / names.rows(0))
        columns = storable(pa.schema([schema.field(name) for name in first.plan["input"]["column_types"]]))
        if "mask" in first.plan:
            shards = WorkShards(directory, names, first.total)
            mask_and_finish(directory, first.plan, columns, shards, progress)
        else:
            finish_scored(directory, first.plan, columns, first.total)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, 0)


def _open(path: Path) -> _OpenPart:
    work = WorkState(path)
    record, plan = work.part(), work.plan()
    if record is None or plan is None:
        what = "is a finished output" if (path / MANIFEST_NAME).is_file() else "holds nothing of that kind"
        raise StorageError(f"{path}: not a part (--num-shards) of a data set: it {what}")
    records = {name: getattr(record, name).model_dump(mode="json") for name in ("input", "scorer")}
    try:
        if run_id(plan) != run_id({**plan, **records}):
            raise ValueError("input and scorer are not those of part.json")
        OutputConfig.model_validate(plan["output"])
        Layout.model_validate(plan["layout"])
        if "mask" in plan:
            MaskConfig.model_validate(plan["mask"])
        if not isinstance(plan["versions"], dict):
            raise TypeError("versions are no table")
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{work.path / 'plan.json'}: is not what was written: {error}") from error
    return _OpenPart(path, record.part, {**plan, **records}, work)


def _check_parts(parts: Sequence[_OpenPart], output: Path) -> None:
    """All of one run, each once, none missing, none unfinished."""
    first, seen = parts[0], dict[int, Path]()
    for part in parts:
        differences = plan_differences(first.plan, part.plan)
        if part.part.num_shards != first.part.num_shards:
            differences.append(f"num_shards: was {first.part.num_shards}, now {part.part.num_shards}")
        if differences:
            lines = "\n  ".join(differences)
            raise StorageError(f"{part.path}: is of another run than {first.path}; from that one to this:\n  {lines}")
        index = part.part.shard_index
        if index in seen:
            raise StorageError(f"part {index} is given twice: {seen[index]} and {part.path}")
        if part.path.resolve() == output.resolve():
            raise StorageError(f"{output} is one of the parts; give another directory with -o")
        seen[index] = part.path
    missing = [str(index) for index in range(first.part.num_shards) if index not in seen]
    if missing:
        raise StorageError(f"of {first.part.num_shards} parts, these are missing: {', '.join(missing)}")
    for part in parts:
        left = sum(1 for stage, index in _work_of(part) if not part.work.is_recorded(stage, index))
        if left:
            raise StorageError(
                f"{part.path}: part {part.part.shard_index} is not finished, {left} of {len(list(_work_of(part)))} "
                "steps are to be done; the command that began it goes on with it"
            )
    here = versions()
    if first.plan["versions"] != here:
        lines = "\n  ".join(plan_differences(first.plan["versions"], here))
        raise StorageError(f"the parts were made with other versions than those installed here:\n  {lines}")


def _work_of(part: _OpenPart) -> Iterator[tuple[str, int]]:
    return ((stage, index) for stage in part.stages for index in part.shards)


def _adopt(directory: OutputDirectory, part: _OpenPart, progress: Progress) -> None:
    for stage, index in _work_of(part):
        if directory.committed(stage, index) is None:
            record = _record(part, stage, index)
            directory.adopt(record, part.path)
        if stage == SCORE:
            size, rows = int(part.plan["output"]["shard_rows"]), int(part.plan["input"]["rows"])
            progress.update("joining", min(rows, (index + 1) * size), rows, 0)


def _record(part: _OpenPart, stage: str, index: int) -> ShardRecord:
    record = part.work.recorded(stage, index)
    if record is None:
        raise CorruptFileError(
            f"{part.path}: shard {index} of stage {stage!r} is not what was written any more; the command that made "
            f"part {part.part.shard_index} makes it again"
        )
    return record
