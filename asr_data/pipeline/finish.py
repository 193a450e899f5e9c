"""What depends on all shards: statistics, masks, the rejects, the card and the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

import asr_data_schemas
from asr_data.config import MaskConfig
from asr_data.errors import CorruptFileError, StorageError
from asr_data.pipeline import aligning, logprobs, masking, scoring
from asr_data.pipeline.masking import MaskStage
from asr_data.pipeline.measured import measured_before, measured_of
from asr_data.pipeline.plan import versions
from asr_data.pipeline.scoring import rejects_json
from asr_data.pipeline.shard_files import ScoredShards, ShardNames
from asr_data.pipeline.summary import side_statistics, weight_statistics
from asr_data.progress import Progress
from asr_data.segments.trend import trend_statistics
from asr_data.storage.card import dataset_card
from asr_data.storage.columns import with_added
from asr_data.storage.commit import FileRecord
from asr_data.storage.manifest import Counts, Manifest
from asr_data.storage.output import OutputDirectory
from asr_data.storage.plan import Plan
from asr_data.storage.reader import AnnotatedDirectory
from asr_data.storage.work import ShardRecord


def finish_scored(directory: OutputDirectory, columns: pa.Schema) -> None:
    """Ends ``score``: every shard is scored.

    Args:
        directory: where the stages have committed all shards.
        columns: schema of the input columns.
    """
    plan = directory.plan
    stages = _score_stages(plan)
    schema = with_added(columns, asr_data_schemas.row_schema(plan.output.prefix, pairs=plan.several_pairs))
    records = _committed(directory, stages, plan.shards)
    _finish(directory, records, schema, measured_of(records), [])


def mask_and_finish(
    directory: OutputDirectory,
    mask: MaskConfig,
    columns: pa.Schema,
    shards: ScoredShards,
    progress: Progress,
    before: AnnotatedDirectory | None = None,
) -> None:
    """Ends ``run`` and ``mask``: every shard is aligned.

    Args:
        directory: where the ``align`` stage has committed all shards.
        mask: segments and masks, those of the directory's plan.
        columns: schema of the input columns.
        shards: the scored rows.
        progress: receives the progress.
        before: the finished directory that holds them; its rejects are this one's, too.
    """
    plan = directory.plan
    split, sides = plan.output.split, plan.layout.sides
    between, final = ShardNames.intermediate(directory, split), ShardNames(split)
    stage = MaskStage(
        shards,
        sides,
        mask,
        prefix=plan.output.prefix,
        run=plan.run_id,
        schema=columns,
        pairs=plan.several_pairs,
        reference=plan.reference is not None,
    )
    stage.measure(directory, between, progress)
    stage.work(directory, between, final, plan.input.rows, progress)
    stages = [*([] if before else [scoring.STAGE]), aligning.STAGE, masking.STAGE]
    added = asr_data_schemas.data_schema(
        sides,
        plan.output.prefix,
        reference=plan.reference is not None,
        weights=mask.has_weights,
        pairs=plan.several_pairs,
    )
    records = _committed(directory, stages, shards.shards)
    totals: list[Any] = [record.extra["totals"] for record in records if "totals" in record.extra]
    statistics = {
        "sigma": stage.statistics.sigma(),
        **trend_statistics(stage.statistics.trend),
        **weight_statistics(stage.statistics, totals, sides),
        **side_statistics(totals, sides),
        **(_measured(directory) if before is None else measured_before(before.manifest.statistics)),
    }
    earlier = [] if before is None else rejects_json(before.rejects())
    if before is not None:
        _require_unchanged(before, directory)
    _finish(directory, records, with_added(columns, added), statistics, earlier)


def _score_stages(plan: Plan) -> list[str]:
    return [scoring.STAGE, *([logprobs.STAGE] if plan.reference else [])]


def _measured(directory: OutputDirectory) -> dict[str, float]:
    plan = directory.plan
    found = (directory.committed(stage, index) for stage in _score_stages(plan) for index in range(plan.shards))
    return measured_of(record for record in found if record is not None)


def _require_unchanged(before: AnnotatedDirectory, directory: OutputDirectory) -> None:
    """Where the scored directory changed meanwhile, no shard counts as done."""
    try:
        before.check_unchanged()
    except CorruptFileError:
        directory.forget_shards()
        raise


def _committed(directory: OutputDirectory, stages: Sequence[str], shards: int) -> list[ShardRecord]:
    records = []
    for stage in stages:
        for index in range(shards):
            record = directory.committed(stage, index)
            if record is None:
                raise StorageError(f"{directory.path}: shard {index} of stage {stage!r} was changed during the run")
            records.append(record)
    return records


def _finish(
    directory: OutputDirectory,
    records: Sequence[ShardRecord],
    schema: pa.Schema,
    statistics: Mapping[str, float],
    earlier: Sequence[Any],
) -> None:
    """Write the rejects, the card and the manifest."""
    plan = directory.plan
    names = ShardNames(plan.output.split)
    rejected: list[Any] = list(earlier)
    notes: Counter[str] = Counter()
    for record in records:
        extra: Any = record.extra
        rejected += extra.get("rejects", [])
        notes.update(extra.get("notes", {}))
    rejected.sort(key=lambda reject: (reject["index"], reject.get("pair", -1)))
    written = directory.committed("rejects", 0)
    if written is None:
        table = _rejects(rejected, several=plan.several_pairs)
        written = directory.commit_shard("rejects", 0, {f"rejects/{names.split}.parquet": table})
    final = [file for record in records for file in _final_files(record, names)]
    annotated = sum(file.rows for file in final if file.path.startswith("data/"))
    manifest = Manifest.of(
        plan,
        asr_data_version=versions()["asr-data"],
        statistics=statistics,
        counts=Counts(
            rows=plan.input.rows,
            annotated=annotated,
            rejected=len(rejected),
            pairs=annotated + len(rejected) if plan.several_pairs else None,
            notes=dict(sorted(notes.items())),
            rejects=dict(sorted(Counter(reject["code"] for reject in rejected).items())),
        ),
        files=[*final, *written.files],
    )
    directory.finish(manifest, dataset_card(manifest, schema))


def _final_files(record: ShardRecord, names: ShardNames) -> list[FileRecord]:
    final = (names.rows(record.index), names.scores(record.index), names.logprobs(record.index))
    return [file for file in record.files if file.path in final]


def _rejects(rejected: Sequence[Any], *, several: bool) -> tuple[pa.Schema, list[pa.Table]]:
    rows = [
        {"asr_row": one["index"], "asr_pair": one.get("pair"), "code": one["code"], "message": one["message"]}
        for one in rejected
    ]
    schema = asr_data_schemas.rejects_schema(pairs=several)
    return schema, [pa.Table.from_pylist(rows, schema=schema)]
