"""``run``, ``score`` and ``mask``."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import asr_data_schemas
from asr_data.config import MaskConfig, OutputConfig, Part, ScoringConfig
from asr_data.errors import ConfigError, InputError
from asr_data.pipeline.aligning import AlignStage
from asr_data.pipeline.finish import finish_scored, mask_and_finish
from asr_data.pipeline.logprobs import LogProbabilities, reference_record
from asr_data.pipeline.merging import part_summary
from asr_data.pipeline.plan import scoring_plan, tokenizer_record
from asr_data.pipeline.policy_tokenizer import recorded_tokenizer
from asr_data.pipeline.preflight import check_apart, check_columns, check_directories_apart, check_weights
from asr_data.pipeline.reporting import PartProgress, report_state
from asr_data.pipeline.shard_files import FinishedShards, ShardNames
from asr_data.pipeline.shard_jobs import LocalPool, ShardJob, ShardPool
from asr_data.pipeline.summary import Summary, summary_of
from asr_data.pipeline.templates import (
    check_templates,
    date_of_output,
    date_of_run,
    first_annotated,
    first_rows,
)
from asr_data.progress import Progress, Silent
from asr_data.rows import Layout, Source
from asr_data.rows.input_guard import InputGuard
from asr_data.rows.schema import input_columns
from asr_data.scoring.context_columns import check_columns as check_context
from asr_data.scoring.protocol import Scorer
from asr_data.storage import open_output
from asr_data.storage.columns import check_collisions
from asr_data.storage.output import OutputDirectory
from asr_data.storage.plan import ReferenceRecord
from asr_data.text.clock import settle_date
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import RewardForm


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
    config_sha256: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Score a data set and write its rows with rewards over bytes; :func:`mask` does the rest.

    ``reference``: a model whose log-probabilities of the responses are written, too. ``part``: do only this share of
    the shards; :func:`asr_data.pipeline.merge` joins the parts. ``pool``: processes that do the work; ``scorer`` and
    ``reference`` then only describe the models. ``template_date``: what chat templates that ask for the date are told;
    default today, or the date with which the output was started. ``config_sha256``: of a file of options, for the
    manifest.

    Raises:
        AsrDataError: see :mod:`asr_data.errors`.
    """
    progress = progress or Silent()
    check_apart(source, output)
    check_columns(source, layout, writing.prefix, reference=reference is not None)
    check_context(scorer.info.contexts, layout.sides, source.schema)
    day = date_of_run(output, scorer, reference, None, template_date, overwrite=overwrite)
    check_templates(first_rows(source, layout), [None if reference is None else reference.tokenizer])
    plan = scoring_plan(source, layout, scorer, scoring, writing, _record(reference), day, config_sha256)
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
    config_sha256: str | None = None,
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
    check_apart(source, output)
    check_columns(source, layout, writing.prefix, reference=reference is not None, weights=mask.has_weights)
    check_context(scorer.info.contexts, layout.sides, source.schema)
    check_weights(mask, reference=reference is not None)
    _check_reward(mask, scorer.info.form)
    _check_reference(reference, tokenizer)
    day = date_of_run(output, scorer, reference, tokenizer, template_date, overwrite=overwrite)
    check_templates(first_rows(source, layout), [tokenizer, None if reference is None else reference.tokenizer])
    plan = scoring_plan(source, layout, scorer, scoring, writing, _record(reference), day, config_sha256)
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
        _work(pool, job, directory, shards, PartProgress(progress, rows))
        return part_summary(directory, shards, len(rows), time.monotonic() - started, pool.tokens)
    if not directory.is_finished:
        _work(pool, job, directory, range(plan.shards), progress)
        if plan.mask is None:
            finish_scored(directory, job.source.schema)
        else:
            _masked(directory, plan.mask, job, progress)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, pool.tokens)


def _masked(directory: OutputDirectory, mask: MaskConfig, job: ShardJob, progress: Progress) -> None:
    try:
        mask_and_finish(directory, mask, job.source.schema, job.scored(directory), progress)
    except ConfigError as error:  # what a setting needs of the rewards is known only now
        raise ConfigError(
            f"{error}. All rows are scored, and their scores are kept in {directory.path}: the same command with that "
            "setting continues from there, without scoring again"
        ) from error


def _work(pool: ShardPool, job: ShardJob, directory: OutputDirectory, shards: range, progress: Progress) -> None:
    """Do the shards; where the input changed meanwhile, none of them counts as done."""
    pool.work(job, directory, shards, progress)
    try:
        InputGuard(job.source).check_content()
    except InputError:
        directory.forget_shards()
        raise


def mask(
    scored: Path,
    output: Path,
    tokenizer: Tokenizer | None = None,
    *,
    mask: MaskConfig = MaskConfig(),  # noqa: B008 - frozen
    template_date: date | None = None,
    config_sha256: str | None = None,
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
        config_sha256: of a file of options, for the manifest.

    Raises:
        AsrDataError: see :mod:`asr_data.errors`.
    """
    started, progress = time.monotonic(), progress or Silent()
    before = open_output(scored)
    check_directories_apart([scored], output)
    manifest = before.manifest
    _check_reward(mask, manifest.scorer.form)
    policy = tokenizer or recorded_tokenizer(manifest)
    told = manifest.plan.template_date
    day = settle_date((policy,), told or template_date or date_of_output(output, overwrite=overwrite))
    if told is not None and template_date not in (None, told):
        progress.message(f"template_date: {scored} was scored with {told}, which is used again")
    plan = manifest.plan.masked(tokenizer_record(policy), mask, day).model_copy(update={"config_sha256": config_sha256})
    mask = plan.mask or mask  # with a baseline that nobody chose
    if plan.reference is not None and plan.reference.tokenizer.fingerprint != policy.fingerprint:
        progress.message(
            f"the reference's log-probabilities are over tokens of {plan.reference.tokenizer.name}: left out"
        )
        plan = plan.model_copy(update={"reference": None})
    check_weights(mask, reference=plan.reference is not None)
    check_templates(first_annotated(before, plan.layout), [policy])
    directory = OutputDirectory.create(output, plan, resume=resume, overwrite=overwrite)
    report_state(directory, progress)
    if not directory.is_finished:
        schema = before.schema()
        columns = input_columns(schema, plan.input.column_types)
        added = asr_data_schemas.data_schema(
            manifest.sides,
            plan.output.prefix,
            reference=plan.reference is not None,
            weights=mask.has_weights,
            pairs=plan.several_pairs,
        )
        check_collisions(columns.names, added.names)
        shards = FinishedShards(before)
        between = ShardNames.intermediate(directory, plan.output.split)
        align = AlignStage(shards, plan.layout, policy, plan.scorer.form, prefix=plan.output.prefix)
        align.work(directory, between, range(shards.shards), plan.input.rows, progress)
        mask_and_finish(directory, mask, columns, shards, progress, before)
    return summary_of(output, open_output(output, verify=False).manifest, time.monotonic() - started, 0)


def _record(reference: LogProbabilities | None) -> ReferenceRecord | None:
    return None if reference is None else reference_record(reference)


def _check_reference(reference: LogProbabilities | None, policy: Tokenizer) -> None:
    if reference is not None and reference.tokenizer.fingerprint != policy.fingerprint:
        raise ConfigError(
            f"the reference {reference.name} has another tokenizer than the policy ({policy.name}): its "
            "log-probabilities would be those of other tokens"
        )


def _check_reward(mask: MaskConfig, form: RewardForm) -> None:
    if mask.reward == "delta" and form == "increment":
        raise ConfigError("reward 'delta' turns values into increments, and this scorer gives increments already")
