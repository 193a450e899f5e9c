"""``filter``: the rows of an output directory that meet a condition, or a sample of them, as an output of its own.

What is left out is listed in ``rejects/`` with the condition, so that every input row is accounted for. Masks stay
what they are: noise and baselines are those of the whole data set.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asr_data.conditions import condition, explained
from asr_data.errors import ConfigError, CorruptFileError, StorageError
from asr_data.pipeline.preflight import check_directories_apart
from asr_data.pipeline.reporting import report_state
from asr_data.pipeline.summary import Summary, side_statistics, summary_of, weight_sums
from asr_data.progress import Progress, Silent
from asr_data.ragged import Ragged
from asr_data.storage import AnnotatedDirectory, Counts, Manifest, ParentRecord, open_output
from asr_data.storage.card import dataset_card
from asr_data.storage.commit import FileRecord, file_sha256
from asr_data.storage.manifest import MANIFEST_NAME
from asr_data.storage.output import OutputDirectory, Rows
from asr_data.storage.reader import read_schema
from asr_data.storage.row_keys import pairs_of, row_keys, rows_of
from asr_data.storage.work import ShardRecord
from asr_data.tables.columns import AnnotatedColumns
from asr_data.tables.frames import check_files, frame
from asr_data.types import Bool, Int64, Side

STAGE: Final = "filter"
_REJECTS: Final = "rejects"
_CODE: Final = "left_out"
_BATCH_ROWS: Final = 1_000
_FOLDERS: Final[tuple[Literal["data", "scores", "logprobs"], ...]] = ("data", "scores", "logprobs")


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which rows of ``data/`` are kept.

    Attributes:
        keys: int64 ``[annotated]``, which row each is (:mod:`asr_data.storage.row_keys`), in order.
        kept: bool ``[annotated]``.
        met: bool ``[annotated]``, it meets the condition; the sample is drawn among these.
    """

    keys: Int64
    kept: Bool
    met: Bool


def filter_rows(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    where: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Write the rows that meet a condition, or a sample of them, as an output directory.

    Args:
        source: a finished output directory; not changed.
        output: another directory.
        where: a condition on :func:`asr_data.frame`'s columns, such as ``margin > 0 AND kept_chosen > 0.2``.
        sample: draw so many of the rows that meet it; all where there are fewer.
        seed: of the draw; 0 or more.
        resume: see :meth:`asr_data.storage.output.OutputDirectory.create`.
        overwrite: likewise.
        progress: receives the progress.

    Raises:
        ConfigError: neither a condition nor a sample, a condition that is none, or no row meets it.
        AsrDataError: see :mod:`asr_data.errors`.
    """
    started, progress = time.monotonic(), progress or Silent()
    source, output = Path(source), Path(output)
    if where is None and sample is None:
        raise ConfigError("nothing says which rows to keep: give --where, --sample, or both")
    if seed < 0 or (sample is not None and sample < 1):
        # Python's generator takes the same numbers for seed and -seed.
        raise ConfigError(f"--sample is {sample} and --seed {seed}: a sample has at least 1 row, a seed is at least 0")
    before = open_output(source)
    check_directories_apart([source], output)
    parent = ParentRecord(
        run_id=before.manifest.run_id,
        manifest_sha256=file_sha256(source / MANIFEST_NAME),
        where=where,
        sample=sample,
        seed=None if sample is None else seed,
        parent=before.manifest.plan.parent,
    )
    choice = _choose(before, where, sample, seed)
    if not choice.kept.any():
        raise ConfigError(f"--where {where!r}: none of the {len(choice.kept):,} annotated rows of {source} meets it")
    plan = before.manifest.plan.model_copy(update={"parent": parent})
    directory = OutputDirectory.create(output, plan, resume=resume, overwrite=overwrite)
    report_state(directory, progress)
    if not directory.is_finished:
        _write(directory, before, choice, progress)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, 0)


def _choose(before: AnnotatedDirectory, where: str | None, sample: int | None, seed: int) -> _Choice:
    import polars as pl

    check_files(before, "data")
    rows = frame(before)
    columns = rows.collect_schema()
    met = pl.lit(value=True) if where is None else condition(where, columns)
    with explained(f"--where {where!r}"):
        found = rows.select(*AnnotatedColumns.of(columns.names()).keys, met=met).collect(engine="streaming")
    meets = found["met"].to_numpy()
    kept = meets.copy()
    if sample is not None:
        candidates = np.flatnonzero(meets)
        draw = random.Random(seed).sample(range(len(candidates)), min(sample, len(candidates)))  # noqa: S311 - no secret
        kept[:] = False
        kept[candidates[draw]] = True
    return _Choice(row_keys(found.drop("met").to_arrow(), before.manifest.prefix), kept, meets)


def _write(directory: OutputDirectory, before: AnnotatedDirectory, choice: _Choice, progress: Progress) -> None:
    files, first = before.manifest.files_of("data"), 0
    records: list[ShardRecord] = []
    for index, file in enumerate(files):
        part = slice(first, first + file.rows)
        record = directory.committed(STAGE, index)
        if record is None:
            record = _Shard(before, index, choice.keys[part], choice.kept[part]).commit(directory)
        records.append(record)
        first += file.rows
        progress.update("filtering", first, len(choice.keys), 0)
    rejects = directory.committed(_REJECTS, 0)
    if rejects is None:
        tables: Rows = (_rejects_schema(before), _rejects(before, choice, directory.plan.parent))
        rejects = directory.commit_shard(_REJECTS, 0, {f"rejects/{directory.plan.output.split}.parquet": tables})
    try:
        before.check_unchanged()
    except CorruptFileError:
        directory.forget_shards()
        raise
    manifest = _manifest(directory, before, choice, [*records, rejects])
    directory.finish(manifest, dataset_card(manifest, before.schema()))


class _Shard:
    """One file of each folder, with the rows that are kept."""

    def __init__(self, before: AnnotatedDirectory, index: int, keys: Int64, kept: Bool) -> None:
        self._before, self._index, self._keys, self._kept = before, index, keys, kept
        self._totals: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()

    def commit(self, directory: OutputDirectory) -> ShardRecord:
        manifest = self._before.manifest
        tables: dict[str, Rows] = {}
        for config in _FOLDERS:
            for file in manifest.files_of(config)[self._index : self._index + 1]:
                tables[file.path] = (read_schema(self._before.checked(file)), self._batches(file, config))
        data = manifest.files_of("data")[self._index].path
        schema, batches = tables[data]
        tables[data] = (schema, self._own(batches, directory.plan.run_id))
        extra: dict[str, Any] = {"totals": self._totals, "notes": self._notes}  # filled while the files are written
        return directory.commit_shard(STAGE, self._index, tables, extra)

    def _batches(self, file: FileRecord, config: str) -> Iterator[pa.Table]:
        prefix, first = self._before.manifest.prefix if config == "data" else "", 0
        for batch in self._before.batches_of(file, _BATCH_ROWS):
            part = slice(first, first + batch.num_rows)
            if not np.array_equal(row_keys(batch, prefix), self._keys[part]):
                raise CorruptFileError(f"{self._before.path / file.path}: its rows are not those of data/")
            yield pa.Table.from_batches([batch]).filter(pa.array(self._kept[part]))
            first += batch.num_rows

    def _own(self, tables: Any, run_id: str) -> Iterator[pa.Table]:
        """The rows of ``data/`` under this output's run, counted."""
        manifest = self._before.manifest
        run, notes = f"{manifest.prefix}asr_run", f"{manifest.prefix}asr_notes"
        for table in tables:
            at = table.schema.get_field_index(run)
            own = table.set_column(at, table.schema.field(at), pa.array([run_id] * table.num_rows, type=pa.string()))
            self._notes.update(pc.list_flatten(own.column(notes)).to_pylist())
            if manifest.stage == "masked":
                for side in manifest.sides:
                    self._totals.update(_totals(own, f"{manifest.prefix}{side}_", side))
            yield own


def _totals(table: pa.Table, prefix: str, side: Side) -> dict[str, float]:
    mask, keep = (Ragged(table.column(f"{prefix}{name}").combine_chunks()) for name in ("mask", "seg_keep"))
    reward, weight = table.column(f"{prefix}reward"), f"{prefix}weight"
    weights = Ragged(table.column(weight).combine_chunks()).values if weight in table.column_names else None
    return {
        f"{side}_responses": table.num_rows,
        f"{side}_tokens": len(mask.values),
        f"{side}_kept_tokens": int(mask.values.sum()),
        f"{side}_segments": len(keep.values),
        f"{side}_kept_segments": int(keep.values.sum()),
        f"{side}_unknown_responses": reward.null_count,
        f"{side}_reward_sum": float(pc.sum(reward.cast(pa.float64())).as_py() or 0.0),
        **({} if weights is None else {f"{side}_weight_sum": float(weights.sum(dtype=np.float64))}),
    }


def _rejects(before: AnnotatedDirectory, choice: _Choice, parent: ParentRecord | None) -> Iterator[pa.Table]:
    """The parent's rejects and what is left out, by input row, a shard's rows at a time."""
    if parent is None:
        raise StorageError("a selection without a parent")
    reasons = pa.array(
        [f"does not meet --where {parent.where}", f"not drawn by --sample {parent.sample} --seed {parent.seed}"]
    )
    left, size = np.flatnonzero(~choice.kept), before.manifest.output.shard_rows
    edges = np.arange(0, before.manifest.input.rows + size, size)
    bounds, earlier = np.searchsorted(rows_of(choice.keys[left]), edges), _by_shard(before, size)
    schema = _rejects_schema(before)
    for start, stop in pairwise(bounds):
        mine = left[start:stop]
        pairs = [pa.array(pairs_of(choice.keys[mine]), type=pa.int32())] if "asr_pair" in schema.names else []
        columns: list[Any] = [
            pa.array(rows_of(choice.keys[mine])),
            *pairs,
            pa.array([_CODE] * len(mine), type=pa.string()),
            reasons.take(pa.array(choice.met[mine].astype(np.int8), type=pa.int8())),
        ]
        own = pa.Table.from_arrays(columns, schema=schema)
        both = pa.concat_tables([next(earlier), own])
        yield both.take(np.argsort(row_keys(both), kind="stable"))


def _rejects_schema(before: AnnotatedDirectory) -> pa.Schema:
    return before.manifest.schemas()["rejects"]


def _by_shard(before: AnnotatedDirectory, size: int) -> Iterator[pa.Table]:
    """The rejects of the parent, for each ``size`` input rows."""
    held = _rejects_schema(before).empty_table()
    batches = (batch for file in before.manifest.files_of("rejects") for batch in before.batches_of(file, _BATCH_ROWS))
    stop = size
    while True:
        while not held.num_rows or held.column("asr_row")[-1].as_py() < stop:
            following = next(batches, None)
            if following is None:
                break
            held = pa.concat_tables([held, pa.Table.from_batches([following])])
        inside = pc.less(held.column("asr_row"), pa.scalar(stop, pa.int64()))
        yield held.filter(inside)
        held, stop = held.filter(pc.invert(inside)), stop + size


def _manifest(
    directory: OutputDirectory, before: AnnotatedDirectory, choice: _Choice, records: list[ShardRecord]
) -> Manifest:
    old, kept = before.manifest, int(choice.kept.sum())
    extras: list[Any] = [record.extra for record in records]
    notes: Counter[str] = sum((Counter(extra.get("notes", {})) for extra in extras), Counter())
    rejects = Counter(old.counts.rejects)
    if kept < len(choice.kept):
        rejects[_CODE] += len(choice.kept) - kept
    return Manifest.of(
        directory.plan,
        asr_data_version=old.asr_data_version,
        statistics=_statistics(old, [extra["totals"] for extra in extras if "totals" in extra]),
        counts=Counts(
            rows=old.counts.rows,
            annotated=kept,
            rejected=old.counts.entries - kept,
            notes=dict(sorted(notes.items())),
            rejects=dict(sorted(rejects.items())),
            pairs=old.counts.pairs,
        ),
        files=[file for record in records for file in record.files],
    )


def _statistics(old: Manifest, totals: list[Mapping[str, Any]]) -> dict[str, float]:
    """Totals over the rows that are kept; what was measured over the data set stays, as masks were made with it.

    What is kept in each fifth is left out: which tokens are text is not in the files.
    """
    own = side_statistics(totals, old.sides) | weight_sums(totals, old.sides) if old.stage == "masked" else {}
    of_sides = {**own, **{name: 0.0 for name in old.statistics if name.startswith(tuple(f"{s}_" for s in old.sides))}}
    return {
        **{name: value for name, value in old.statistics.items() if name not in of_sides},
        **{name: value for name, value in own.items() if "_fifth" not in name},
    }
