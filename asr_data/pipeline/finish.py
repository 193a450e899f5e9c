"""What needs a look at all shards: statistics, masks, the rejects, the card and the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

import asr_data_schemas
from asr_data.config import MaskConfig, OutputConfig, ScoringConfig
from asr_data.errors import StorageError
from asr_data.pipeline import aligning, logprobs, masking, scoring
from asr_data.pipeline.masking import MaskStage
from asr_data.pipeline.plan import versions
from asr_data.pipeline.scoring import rejects_json
from asr_data.pipeline.shard_files import ScoredShards, ShardNames
from asr_data.pipeline.summary import side_statistics
from asr_data.progress import Progress
from asr_data.rows import Layout
from asr_data.storage.card import dataset_card
from asr_data.storage.manifest import (
    Counts,
    InputRecord,
    Manifest,
    ReferenceRecord,
    ScorerRecord,
    TokenizerRecord,
    run_id,
)
from asr_data.storage.output import OutputDirectory
from asr_data.storage.reader import AnnotatedDirectory


def finish_scored(directory: OutputDirectory, plan: Mapping[str, Any], columns: pa.Schema, shards: int) -> None:
    """Ends ``score``: every shard is scored."""
    writing = OutputConfig.model_validate(plan["output"])
    stages = [scoring.STAGE, *([logprobs.STAGE] if "reference" in plan else [])]
    schema = pa.schema([*columns, *asr_data_schemas.row_schema(writing.prefix)])
    _finish(directory, plan, stages, shards, schema, {}, [])


def mask_and_finish(
    directory: OutputDirectory,
    plan: Mapping[str, Any],
    columns: pa.Schema,
    shards: ScoredShards,
    progress: Progress,
    before: AnnotatedDirectory | None = None,
) -> None:
    """Ends ``run`` and ``mask``: every shard is aligned.

    Args:
        directory: where the ``align`` stage has committed all shards.
        plan: of the output.
        columns: schema of the input columns.
        shards: the scored rows.
        progress: told how far it is.
        before: the finished directory that holds them; its rejects are this one's, too.
    """
    layout, writing = Layout.model_validate(plan["layout"]), OutputConfig.model_validate(plan["output"])
    between, final = ShardNames.intermediate(directory, writing.split), ShardNames(writing.split)
    stage = MaskStage(
        shards,
        layout.sides,
        MaskConfig.model_validate(plan["mask"]),
        prefix=writing.prefix,
        run=run_id(plan),
        schema=columns,
        index_column=f"{writing.prefix}asr_row",
        reference="reference" in plan,
    )
    stage.measure(directory, between, progress)
    stage.work(directory, between, final, int(plan["input"]["rows"]), progress)
    statistics = {"sigma": stage.statistics.sigma()}
    stages = [*([] if before else [scoring.STAGE]), aligning.STAGE, masking.STAGE]
    added = asr_data_schemas.data_schema(layout.sides, writing.prefix, reference="reference" in plan)
    schema = pa.schema([*columns, *added])
    earlier = [] if before is None else rejects_json(before.rejects())
    _finish(directory, plan, stages, shards.shards, schema, statistics, earlier)


def _finish(
    directory: OutputDirectory,
    plan: Mapping[str, Any],
    stages: list[str],
    shards: int,
    schema: pa.Schema,
    statistics: dict[str, float],
    earlier: list[Any],
) -> None:
    """Write the rejects, the card and the manifest."""
    names = ShardNames(plan["output"]["split"])
    rejected: list[dict[str, Any]] = list(earlier)
    notes: Counter[str] = Counter()
    totals: list[Mapping[str, Any]] = []
    files = []
    for stage in stages:
        for index in range(shards):
            record = directory.committed(stage, index)
            if record is None:
                raise StorageError(f"{directory.path}: shard {index} of stage {stage!r} was changed while we worked")
            extra: Any = record.extra
            rejected += extra.get("rejects", [])
            notes.update(extra.get("notes", {}))
            totals += [extra["totals"]] if "totals" in extra else []
            final = (names.rows(index), names.scores(index), names.logprobs(index))
            files += [file for file in record.files if file.path in final]
    rejected.sort(key=lambda reject: reject["index"])
    written = directory.committed("rejects", 0)
    if written is None:
        written = directory.commit_shard("rejects", 0, {f"rejects/{names.split}.parquet": _rejects(rejected)})
    files += written.files
    masked = "mask" in plan
    layout = Layout.model_validate(plan["layout"])
    manifest = Manifest(
        asr_data_version=versions()["asr-data"],
        stage="masked" if masked else "scored",
        run_id=run_id(plan),
        input=InputRecord.model_validate(plan["input"]),
        scorer=ScorerRecord.model_validate(plan["scorer"]),
        tokenizer=_tokenizer_record(plan),
        reference=ReferenceRecord.model_validate(plan["reference"]) if "reference" in plan else None,
        scoring=ScoringConfig.model_validate(plan["scoring"]),
        mask=MaskConfig.model_validate(plan["mask"]) if masked else None,
        output=OutputConfig.model_validate(plan["output"]),
        sides=layout.sides,
        statistics={**statistics, **(side_statistics(totals, layout.sides) if masked else {})},
        counts=Counts(
            rows=plan["input"]["rows"],
            annotated=plan["input"]["rows"] - len(rejected),
            rejected=len(rejected),
            notes=dict(sorted(notes.items())),
            rejects=dict(sorted(Counter(r["code"] for r in rejected).items())),
        ),
        files=tuple(sorted(files, key=lambda file: file.path)),
        versions=dict(plan["versions"]),
    )
    directory.finish(manifest, dataset_card(manifest, schema))


def _rejects(rejected: list[dict[str, Any]]) -> tuple[pa.Schema, list[pa.Table]]:
    rows = [{"asr_row": r["index"], "code": r["code"], "message": r["message"]} for r in rejected]
    schema = asr_data_schemas.REJECTS_SCHEMA
    return schema, [pa.Table.from_pylist(rows, schema=schema)]


def _tokenizer_record(plan: Mapping[str, Any]) -> TokenizerRecord | None:
    record = plan.get("tokenizer") or plan["scorer_tokenizer"]
    return None if record is None else TokenizerRecord.model_validate(record)
