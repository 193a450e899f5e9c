"""``run``, ``score`` and ``mask``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import asr_data_schemas
from asr_data.config import MaskConfig, OutputConfig, Part, ScoringConfig
from asr_data.errors import ConfigError, StorageError
from asr_data.pipeline.aligning import AlignStage
from asr_data.pipeline.finish import finish_scored, mask_and_finish
from asr_data.pipeline.logprobs import LogProbabilities, reference_record
from asr_data.pipeline.merging import part_summary
from asr_data.pipeline.plan import scoring_plan, tokenizer_record
from asr_data.pipeline.policy_tokenizer import recorded_tokenizer
from asr_data.pipeline.reporting import PartProgress, report_state
from asr_data.pipeline.shard_files import FinishedShards, ShardNames
from asr_data.pipeline.shard_jobs import LocalPool, ShardJob, ShardPool
from asr_data.pipeline.summary import Summary, summary_of
from asr_data.progress import Progress, Silent
from asr_data.rows import Layout, Source, normalise, read_rows, records_of
from asr_data.rows.schema import input_columns
from asr_data.scoring.protocol import Scorer
from asr_data.storage import open_output
from asr_data.storage.columns import check_collisions
from asr_data.storage.manifest import MANIFEST_NAME
from asr_data.storage.output import OutputDirectory
from asr_data.storage.plan import ReferenceRecord
from asr_data.storage.reader import AnnotatedDirectory
from asr_data.storage.work import WorkState
from asr_data.text.clock import settle_date
from asr_data.text.probe import FIRST_ROWS, check_template
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import RewardForm, Row


def score(
    source: Source,
    layout: Layout,
    output: Path,
    scorer: Scorer,
    *,
    reference: LogProbabilities | None = None,
    scoring: ScoringConfig = ScoringConfig(),  # noqa: B008 - frozen
    writing: OutputConfig = OutputConfig(),  # noqa: B008 - frozen
    part: Part | None = None,
    pool: ShardPool | None = None,
    template_date: date | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Score a data set and write its rows with rewards over bytes; :func:`mask` does the rest.

    ``reference``: a model whose log-probabilities of the responses are written, too. ``part``: do only this share of
    the shards; :func:`asr_data.pipeline.merge` joins the parts. ``pool``: processes that do the work; ``scorer`` and
    ``reference`` then only describe the models. ``template_date``: what chat templates that ask for the date are told;
    default today, or the date with which the output was begun.

    Raises:
        AsrDataError: see :mod:`asr_data.errors`.
    """
    progress = progress or Silent()
    _check_apart(source, output)
    # With the columns that masking adds, too: it has no way to take other names than scoring took.
    _check_columns(source.schema.names, layout.sides, writing.prefix, reference)
    day = _settle_date(output, scorer, reference, None, template_date, overwrite=overwrite)
    _check_template(source, layout, None, reference)
    plan = scoring_plan(source, layout, scorer, scoring, writing, _record(reference), day)
    return _annotate(
        ShardJob(source, plan, None),
        output,
        pool or LocalPool(scorer, reference),
        part,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )


def run(
    source: Source,
    layout: Layout,
    output: Path,
    scorer: Scorer,
    tokenizer: Tokenizer,
    *,
    reference: LogProbabilities | None = None,
    scoring: ScoringConfig = ScoringConfig(),  # noqa: B008 - frozen
    mask: MaskConfig = MaskConfig(),  # noqa: B008 - frozen
    writing: OutputConfig = OutputConfig(),  # noqa: B008 - frozen
    part: Part | None = None,
    pool: ShardPool | None = None,
    template_date: date | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Score a data set and write it with segments and masks.

    ``reference``: a model whose log-probabilities become the columns ``S_ref_logp``; its tokenizer must be the
    policy's. ``part``: do only this share of the shards, up to the masks; :func:`asr_data.pipeline.merge` joins the
    parts and masks them. ``pool``: processes that do the work; ``scorer`` and ``reference`` then only describe the
    models.

    Raises:
        AsrDataError: see :mod:`asr_data.errors`.
    """
    progress = progress or Silent()
    _check_apart(source, output)
    _check_columns(source.schema.names, layout.sides, writing.prefix, reference)
    _check_reward(mask, scorer.info.form)
    _check_reference(reference, tokenizer)
    day = _settle_date(output, scorer, reference, tokenizer, template_date, overwrite=overwrite)
    _check_template(source, layout, tokenizer, reference)
    plan = scoring_plan(source, layout, scorer, scoring, writing, _record(reference), day)
    return _annotate(
        ShardJob(source, plan.masked(tokenizer_record(tokenizer), mask), tokenizer),
        output,
        pool or LocalPool(scorer, reference),
        part,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )


def _annotate(
    job: ShardJob,
    output: Path,
    pool: ShardPool,
    part: Part | None,
    *,
    resume: bool,
    overwrite: bool,
    progress: Progress,
) -> Summary:
    started, plan = time.monotonic(), job.plan
    directory = OutputDirectory.create(output, plan, resume=resume, overwrite=overwrite, part=part)
    report_state(directory, progress)
    if part is not None:
        shards = part.files(plan.shards)
        rows = job.rows(shards)
        pool.work(job, directory, shards, PartProgress(progress, rows))
        return part_summary(directory, shards, len(rows), time.monotonic() - started, pool.tokens)
    if not directory.is_finished:
        pool.work(job, directory, range(plan.shards), progress)
        if plan.mask is None:
            finish_scored(directory, job.source.schema)
        else:
            mask_and_finish(directory, plan.mask, job.source.schema, job.scored(directory), progress)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, pool.tokens)


def mask(
    scored: Path,
    output: Path,
    tokenizer: Tokenizer | None = None,
    *,
    mask: MaskConfig = MaskConfig(),  # noqa: B008 - frozen
    template_date: date | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Redo segments and masks of a directory with scores; the output equals that of :func:`run`.

    Args:
        scored: made by :func:`score`, :func:`run` or this function; not changed.
        output: another directory.
        tokenizer: the policy's; default the one that ``scored`` was made with.
        template_date: what a chat template that asks for the date is told, if ``scored`` has none; default today.

    Raises:
        AsrDataError: see :mod:`asr_data.errors`.
    """
    started, progress = time.monotonic(), progress or Silent()
    before = open_output(scored)
    if output.resolve() == scored.resolve():
        raise StorageError(f"{output} is the input; name another directory with -o")
    manifest = before.manifest
    _check_reward(mask, manifest.scorer.form)
    policy = tokenizer or recorded_tokenizer(manifest)
    told = manifest.plan.template_date
    day = settle_date((policy,), told or template_date or _date_of_output(output, overwrite=overwrite))
    if told is not None and template_date not in (None, told):
        progress.message(f"template_date: {scored} was scored with {told}, which is taken again")
    plan = manifest.plan.masked(tokenizer_record(policy), mask, day)
    if plan.reference is not None and plan.reference.tokenizer.fingerprint != policy.fingerprint:
        progress.message(
            f"the reference's log-probabilities are over tokens of {plan.reference.tokenizer.name}: left out"
        )
        plan = plan.model_copy(update={"reference": None})
    check_template(policy, _first_annotated(before, plan.layout))
    directory = OutputDirectory.create(output, plan, resume=resume, overwrite=overwrite)
    report_state(directory, progress)
    if not directory.is_finished:
        schema = before.schema()
        columns = input_columns(schema, plan.input.column_types)
        added = asr_data_schemas.data_schema(manifest.sides, plan.output.prefix, reference=plan.reference is not None)
        check_collisions(columns.names, added.names)
        shards = FinishedShards(before)
        between = ShardNames.intermediate(directory, plan.output.split)
        align = AlignStage(shards, plan.layout, policy, plan.scorer.form, index_column=plan.index_column)
        align.work(directory, between, range(shards.shards), plan.input.rows, progress)
        mask_and_finish(directory, mask, columns, shards, progress, before)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, 0)


def first_rows(source: Source, layout: Layout) -> list[Row]:
    """The first rows that can be read, to see whether chat templates take them."""
    read = next(read_rows(source, layout, FIRST_ROWS, 0, min(FIRST_ROWS, source.rows)), [])
    return [row for row in read if isinstance(row, Row)]


def _first_annotated(annotated: AnnotatedDirectory, layout: Layout) -> list[Row]:
    names = list(annotated.manifest.input.column_types)
    for batch in annotated.data_batches(FIRST_ROWS):
        return [normalise(index, record, layout) for index, record in enumerate(records_of(batch.select(names)))]
    return []


def _check_template(
    source: Source, layout: Layout, policy: Tokenizer | None, reference: LogProbabilities | None
) -> None:
    """Before anything is scored: what no row can be rendered with is one error, not a reject for every row."""
    rows = first_rows(source, layout)
    for tokenizer in (policy, None if reference is None else reference.tokenizer):
        if tokenizer is not None:
            check_template(tokenizer, rows)


def _settle_date(
    output: Path,
    scorer: Scorer,
    reference: LogProbabilities | None,
    policy: Tokenizer | None,
    asked: date | None,
    *,
    overwrite: bool,
) -> date | None:
    """The one date that all templates of a run are told, however often and wherever it is gone on with."""
    tokenizers = (policy, scorer.tokenizer, None if reference is None else reference.tokenizer)
    return settle_date(tokenizers, asked or _date_of_output(output, overwrite=overwrite))


def _date_of_output(output: Path, *, overwrite: bool) -> date | None:
    """The date with which an output was begun; None where there is none yet, or it is going to be removed."""
    if overwrite or not output.is_dir():
        return None
    plan = WorkState(output).plan()
    if plan is None and (output / MANIFEST_NAME).is_file():
        plan = open_output(output, verify=False).manifest.plan
    return None if plan is None else plan.template_date


def _check_apart(source: Source, output: Path) -> None:
    """Refuse an output directory that contains the input: overwriting would remove it before it is read."""
    for reader in source.readers:
        path: Path | None = getattr(reader, "path", None)  # a dataset in memory has none
        if path is not None and path.resolve().is_relative_to(output.resolve()):
            raise StorageError(
                f"{path}: the input is inside the output directory {output}; name another directory with -o"
            )


def _record(reference: LogProbabilities | None) -> ReferenceRecord | None:
    return None if reference is None else reference_record(reference)


def _check_columns(names: list[str], sides: Sequence[str], prefix: str, reference: LogProbabilities | None) -> None:
    added = asr_data_schemas.data_schema(sides, prefix, reference=reference is not None)
    check_collisions(names, added.names)


def _check_reference(reference: LogProbabilities | None, policy: Tokenizer) -> None:
    if reference is not None and reference.tokenizer.fingerprint != policy.fingerprint:
        raise ConfigError(
            f"the reference {reference.name} has another tokenizer than the policy ({policy.name}): its "
            "log-probabilities would be those of other tokens"
        )


def _check_reward(mask: MaskConfig, form: RewardForm) -> None:
    if mask.reward == "delta" and form == "increment":
        raise ConfigError("reward 'delta' turns values into increments, and this scorer gives increments already")
