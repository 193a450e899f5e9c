"""``run``, ``score`` and ``mask``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import asr_data_schemas
from asr_data.config import MaskConfig, OutputConfig, ScoringConfig
from asr_data.errors import ConfigError, CorruptFileError, StorageError
from asr_data.pipeline import aligning, logprobs, masking
from asr_data.pipeline import scoring as scoring_stage
from asr_data.pipeline.aligning import BATCH_ROWS, AlignStage
from asr_data.pipeline.logprobs import LogprobStage
from asr_data.pipeline.masking import MaskStage
from asr_data.pipeline.plan import mask_plan, scoring_plan, versions
from asr_data.pipeline.scoring import ScoreStage, ShardNames
from asr_data.pipeline.summary import Progress, Silent, Summary, side_statistics, summary_of
from asr_data.rows import Layout, Source, recorded_layout
from asr_data.rows.schema import storable
from asr_data.scoring.protocol import Scorer
from asr_data.storage import FileRecord, check_collisions, dataset_card, open_output, run_id
from asr_data.storage.manifest import Counts, InputRecord, Manifest, ReferenceRecord, ScorerRecord, TokenizerRecord
from asr_data.storage.output import OutputDirectory
from asr_data.storage.reader import AnnotatedDirectory, read_batches
from asr_data.text.tokenizer import Tokenizer, load_tokenizer
from asr_data.types import RewardForm

if TYPE_CHECKING:  # loads torch
    from asr_data.scoring.reference import Reference


def score(
    source: Source,
    layout: Layout,
    output: Path,
    scorer: Scorer,
    *,
    reference: Reference | None = None,
    scoring: ScoringConfig = ScoringConfig(),  # noqa: B008 - frozen
    writing: OutputConfig = OutputConfig(),  # noqa: B008 - frozen
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Score a data set and write its rows with rewards over bytes; :func:`mask` does the rest.

    ``reference``: a model whose log-probabilities of the responses are written, too.

    Raises:
        AsrDataError: see :mod:`asr_data.errors`.
    """
    started, progress = time.monotonic(), progress or Silent()
    _check_apart(source, output)
    # With the columns that masking adds, too: it has no way to take other names than scoring took.
    _check_columns(source.schema.names, layout.sides, writing.prefix, reference)
    plan = scoring_plan(source, layout, scorer, scoring, writing, None if reference is None else _record(reference))
    directory = OutputDirectory.create(output, plan, resume=resume, overwrite=overwrite)
    stage = _score_stage(source, layout, scorer, writing, run_id(plan))
    if not directory.is_finished:
        names = ShardNames(writing.split)
        stage.work(directory, names, progress)
        stages = [scoring_stage.STAGE]
        if reference is not None:
            shards = _WorkShards(directory, names, stage.shards)
            _logprobs(directory, names, shards, layout, reference, writing.prefix, source.rows, progress)
            stages.append(logprobs.STAGE)
        schema = pa.schema([*source.schema, *asr_data_schemas.row_schema(writing.prefix)])
        _finish(directory, plan, stages, stage.shards, names, schema, {})
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, stage.tokens)


def run(
    source: Source,
    layout: Layout,
    output: Path,
    scorer: Scorer,
    tokenizer: Tokenizer,
    *,
    reference: Reference | None = None,
    scoring: ScoringConfig = ScoringConfig(),  # noqa: B008 - frozen
    mask: MaskConfig = MaskConfig(),  # noqa: B008 - frozen
    writing: OutputConfig = OutputConfig(),  # noqa: B008 - frozen
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Score a data set and write it with segments and masks.

    ``reference``: a model whose log-probabilities become the columns ``S_ref_logp``; its tokenizer must be the
    policy's.

    Raises:
        AsrDataError: see :mod:`asr_data.errors`.
    """
    started, progress = time.monotonic(), progress or Silent()
    _check_apart(source, output)
    _check_columns(source.schema.names, layout.sides, writing.prefix, reference)
    _check_reward(mask, scorer.info.form)
    _check_reference(reference, tokenizer)
    record = None if reference is None else _record(reference)
    plan = mask_plan(scoring_plan(source, layout, scorer, scoring, writing, record), tokenizer, mask)
    directory = OutputDirectory.create(output, plan, resume=resume, overwrite=overwrite)
    stage = _score_stage(source, layout, scorer, writing, run_id(plan))
    if not directory.is_finished:
        between = _intermediate(directory, writing.split)
        stage.work(directory, between, progress)
        shards = _WorkShards(directory, between, stage.shards)
        if reference is not None:
            _logprobs(directory, between, shards, layout, reference, writing.prefix, source.rows, progress)
        _mask_scored(directory, plan, shards, tokenizer, source.schema, f"{writing.prefix}asr_row", progress)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, stage.tokens)


def mask(
    scored: Path,
    output: Path,
    tokenizer: Tokenizer | None = None,
    *,
    mask: MaskConfig = MaskConfig(),  # noqa: B008 - frozen
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Redo segments and masks of a directory with scores; the output equals that of :func:`run`.

    Args:
        scored: made by :func:`score`, :func:`run` or this function; not changed.
        output: another directory.
        tokenizer: the policy's; default the one that ``scored`` was made with.

    Raises:
        AsrDataError: see :mod:`asr_data.errors`.
    """
    started, progress = time.monotonic(), progress or Silent()
    before = open_output(scored)
    if output.resolve() == scored.resolve():
        raise StorageError(f"{output} is the directory to read; give another one with -o")
    manifest = before.manifest
    _check_reward(mask, manifest.scorer.form)
    policy = tokenizer or _recorded_tokenizer(manifest)
    # The manifest's own records keep the order of columns, which its canonical plan does not.
    recorded = ("input", "scorer", "scoring", "output", "reference")
    records = {name: value.model_dump(mode="json") for name in recorded if (value := getattr(manifest, name))}
    records["layout"] = recorded_layout(manifest.plan, manifest.sides).model_dump(mode="json")
    plan = mask_plan({**manifest.plan, **records, "versions": manifest.versions}, policy, mask)
    if manifest.reference is None:
        plan.pop("reference", None)
    elif manifest.reference.tokenizer.fingerprint != policy.fingerprint:
        progress.message(
            f"the reference's log-probabilities are over tokens of {manifest.reference.tokenizer.name}: left out"
        )
        plan.pop("reference")
    directory = OutputDirectory.create(output, plan, resume=resume, overwrite=overwrite)
    if not directory.is_finished:
        schema = before.schema().remove_metadata()
        columns = storable(pa.schema([schema.field(name) for name in manifest.input.column_types]))
        added = asr_data_schemas.data_schema(manifest.sides, manifest.prefix, reference="reference" in plan)
        check_collisions(columns.names, added.names)
        shards = _FinishedShards(before)
        index_column = f"{manifest.prefix}asr_row"
        _mask_scored(directory, plan, shards, policy, columns, index_column, progress, before)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, 0)


def _check_apart(source: Source, output: Path) -> None:
    """Refuse to write where the input lies: overwriting would remove it before it is read."""
    for reader in source.readers:
        path: Path | None = getattr(reader, "path", None)  # a dataset in memory has none
        if path is not None and path.resolve().is_relative_to(output.resolve()):
            raise StorageError(f"{path}: the input lies in the output directory {output}; give another one with -o")


def _record(reference: Reference) -> ReferenceRecord:
    return logprobs.reference_record(reference)


def _check_columns(names: list[str], sides: Sequence[str], prefix: str, reference: Reference | None) -> None:
    added = asr_data_schemas.data_schema(sides, prefix, reference=reference is not None)
    check_collisions(names, added.names)


def _check_reference(reference: Reference | None, policy: Tokenizer) -> None:
    if reference is not None and reference.tokenizer.fingerprint != policy.fingerprint:
        raise ConfigError(
            f"the reference {reference.name} has another tokenizer than the policy ({policy.name}): its "
            "log-probabilities would be of other tokens"
        )


def _logprobs(
    directory: OutputDirectory,
    names: ShardNames,
    shards: _WorkShards,
    layout: Layout,
    reference: Reference,
    prefix: str,
    rows: int,
    progress: Progress,
) -> None:
    stage = LogprobStage(shards, layout, reference, index_column=f"{prefix}asr_row")
    stage.work(directory, names, rows, progress)


def _check_reward(mask: MaskConfig, form: RewardForm) -> None:
    if mask.reward == "delta" and form == "increment":
        raise ConfigError("reward 'delta' turns values into increments, and this scorer gives increments already")


def _score_stage(source: Source, layout: Layout, scorer: Scorer, writing: OutputConfig, run: str) -> ScoreStage:
    return ScoreStage(source, layout, scorer, prefix=writing.prefix, run=run, shard_rows=writing.shard_rows)


def _intermediate(directory: OutputDirectory, split: str) -> ShardNames:
    folder = directory.work_path("x").parent.relative_to(directory.path).as_posix()
    return ShardNames(split, folder + "/")


def _mask_scored(
    directory: OutputDirectory,
    plan: Mapping[str, Any],
    shards: _WorkShards | _FinishedShards,
    tokenizer: Tokenizer,
    columns: pa.Schema,
    index_column: str,
    progress: Progress,
    before: AnnotatedDirectory | None = None,
) -> None:
    layout = Layout.model_validate(plan["layout"])
    config = MaskConfig.model_validate(plan["mask"])
    writing = OutputConfig.model_validate(plan["output"])
    rows = int(plan["input"]["rows"])
    between, final = _intermediate(directory, writing.split), ShardNames(writing.split)
    form: RewardForm = plan["scorer"]["form"]
    AlignStage(shards, layout, tokenizer, form, index_column=index_column).work(directory, between, rows, progress)
    stage = MaskStage(
        shards,
        layout.sides,
        config,
        prefix=writing.prefix,
        run=run_id(plan),
        schema=columns,
        index_column=index_column,
        reference="reference" in plan,
    )
    stage.measure(directory, between, progress)
    stage.work(directory, between, final, rows, progress)
    statistics = {"sigma": stage.statistics.sigma()}
    stages = [*([] if before else [scoring_stage.STAGE]), aligning.STAGE, masking.STAGE]
    added = asr_data_schemas.data_schema(layout.sides, writing.prefix, reference="reference" in plan)
    schema = pa.schema([*columns, *added])
    earlier = (
        [] if before is None else [{"index": r.index, "code": r.code, "message": r.message} for r in before.rejects()]
    )
    _finish(directory, plan, stages, shards.shards, final, schema, statistics, earlier)


def _finish(
    directory: OutputDirectory,
    plan: Mapping[str, Any],
    stages: list[str],
    shards: int,
    names: ShardNames,
    schema: pa.Schema,
    statistics: dict[str, float],
    earlier: list[dict[str, Any]] | None = None,
) -> None:
    """Write the rejects, the card and the manifest."""
    rejected: list[dict[str, Any]] = list(earlier or [])
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


def _recorded_tokenizer(manifest: Manifest) -> Tokenizer:
    record = manifest.tokenizer
    if record is None:
        raise ConfigError("this scorer has no tokenizer of its own; name the policy's with --tokenizer")
    if record.name in (manifest.scorer.name, "builtin"):
        from asr_data.scoring.load import load_scorer_tokenizer

        tokenizer = load_scorer_tokenizer(record.name)
    else:
        tokenizer = load_tokenizer(record.name)
    if tokenizer.fingerprint != record.fingerprint:
        raise ConfigError(f"tokenizer {record.name!r} is not the one that was used then; name one with --tokenizer")
    return tokenizer


class _WorkShards:
    """Scored shards that a run keeps between its stages."""

    def __init__(self, directory: OutputDirectory, names: ShardNames, shards: int) -> None:
        self._path, self._names, self.shards = directory.path, names, shards

    def rows(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`asr_data.pipeline.aligning.ScoredShards`."""
        return read_batches(self._path / self._names.rows(index), BATCH_ROWS)

    def scores(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`asr_data.pipeline.aligning.ScoredShards`."""
        return read_batches(self._path / self._names.scores(index), BATCH_ROWS)

    def logprobs(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`asr_data.pipeline.aligning.ScoredShards`."""
        return read_batches(self._path / self._names.logprobs(index), BATCH_ROWS)


class _FinishedShards:
    """The shards of a finished directory, each checked by SHA-256 when it is first read."""

    def __init__(self, directory: AnnotatedDirectory) -> None:
        self._directory = directory
        self._rows = directory.manifest.files_of("data")
        self._scores = directory.manifest.files_of("scores")
        self._logprobs = directory.manifest.files_of("logprobs")
        self.shards = len(self._rows)
        referred = self.shards if directory.manifest.reference is not None else 0
        if (len(self._scores), len(self._logprobs)) != (self.shards, referred):
            raise CorruptFileError(
                f"{directory.path}: the manifest lists {self.shards} files in data/, {len(self._scores)} in scores/, "
                f"and {len(self._logprobs)} in logprobs/"
            )

    def rows(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`asr_data.pipeline.aligning.ScoredShards`."""
        return self._read(self._rows[index])

    def scores(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`asr_data.pipeline.aligning.ScoredShards`."""
        return self._read(self._scores[index])

    def logprobs(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`asr_data.pipeline.aligning.ScoredShards`."""
        return self._read(self._logprobs[index])

    def _read(self, record: FileRecord) -> Iterator[pa.RecordBatch]:
        return read_batches(self._directory.checked(record), BATCH_ROWS)
