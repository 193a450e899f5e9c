"""``run``, ``score`` and ``mask``: from a data set to an annotated directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr_data_cli import models
from asr_data_cli import options as opt
from asr_data_cli.config_file import ConfigOptions
from asr_data_cli.console import print_input, standard_output
from asr_data_cli.ending import finish, finish_scored
from asr_data_cli.option_groups import (
    EndOptions,
    EngineOptions,
    InputOptions,
    MachineOptions,
    MaskOptions,
    ModelOptions,
    PairOptions,
    ScoringOptions,
    TemplateOptions,
    WritingOptions,
)
from asr_data_cli.plan import Asked, asked_for, check_before_scoring, open_input, show_plan
from asr_data_cli.progress import progress
from asr_data_cli.settings import Checks

if TYPE_CHECKING:
    from asr_data.pipeline import Summary

RUN_EXAMPLES = (
    "asr-annotate run pairs.jsonl -o annotated",
    "asr-annotate run trl-lib/ultrafeedback_binarized --split train -o annotated --model MODEL_DIR "
    "--tokenizer POLICY_DIR",
    "asr-annotate run pairs.parquet -o annotated --columns prompt=question,chosen=good,rejected=bad",
    "asr-annotate run steps.jsonl -o annotated --kind labels --tokenizer POLICY_DIR",
    "asr-annotate run pairs.jsonl -o annotated --preset hindsight --model CHAT_MODEL",
    "asr-annotate run pairs.jsonl -o annotated --preset feedback --context column:critique --model CHAT_MODEL",
    "asr-annotate run pairs.jsonl -o annotated --model Qwen/Qwen2.5-Math-PRM-72B --preset qwen2.5-math-prm "
    "--engine http://localhost:8000",
    "asr-annotate run pairs.jsonl -o annotated --penalty bic --boundary word=10,inside-word=50",
    "asr-annotate run pairs.parquet -o annotated --where \"topic = 'code' AND score > 3\"",
    "asr-annotate run answers.jsonl -o annotated --pairs all --min-gap 1",
    "asr-annotate run pairs.jsonl -o part-3 --num-shards 16 --shard-index 3",
)
SCORE_EXAMPLES = (
    "asr-annotate score pairs.jsonl -o scored",
    "asr-annotate mask scored -o annotated --segmenter schmitt",
)
MASK_EXAMPLES = (
    "asr-annotate mask annotated -o strict --baseline dataset:0.3",
    "asr-annotate mask annotated -o steps --segmenter step",
    "asr-annotate mask scored -o annotated --tokenizer POLICY_DIR --reward delta --baseline 0",
)


def run(
    source: InputOptions,
    output: opt.Output,
    model: ModelOptions,
    engine: EngineOptions,
    scoring: ScoringOptions,
    mask: MaskOptions,
    writing: WritingOptions,
    end: EndOptions,
    machines: MachineOptions,
    templates: TemplateOptions,
    config: ConfigOptions,
    pairs: PairOptions,
    tokenizer: opt.Tokenizer = None,
    limit: opt.Limit = None,
    where: opt.Where = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show what would be done, as plan does.", rich_help_panel=opt.OUTPUT),
    ] = False,
) -> None:
    """Score a preference data set, cut its responses into segments, and write training masks."""
    asked = asked_for(
        source,
        output,
        model,
        engine,
        scoring,
        mask,
        writing,
        end,
        machines,
        templates,
        config,
        tokenizer=tokenizer,
        pairs=pairs,
        limit=limit,
        where=where,
    )
    if dry_run:
        show_plan(asked)
        return
    finish(annotate(asked), strict=end.strict, part=asked.part)


def annotate(asked: Asked) -> Summary:
    """Open everything, say what was found, annotate."""
    from asr_data import pipeline
    from asr_data.text.probe import check_template

    console = standard_output()
    source, layout = asked.open()
    print_input(console, source, layout)
    check_before_scoring(asked, source, layout)
    rows = pipeline.first_rows(source, layout)
    named = None if asked.tokenizer is None else models.named_tokenizer(asked.tokenizer)
    if named is not None:  # before a model is loaded
        check_template(named, rows)
    with models.opened(
        asked.model, asked.scoring, asked.source.location, asked.ray, rows, source.schema, asked.engines
    ) as found:
        policy = named or models.policy_tokenizer(None, found.scorer)
        models.print_scorer(console, found.scorer, policy)
        with progress() as reporter:
            summary = pipeline.run(
                source,
                layout,
                asked.output,
                found.scorer,
                policy,
                reference=found.reference,
                scoring=asked.scoring,
                mask=asked.mask,
                writing=asked.writing,
                part=asked.part,
                pool=found.pool,
                template_date=asked.template_date,
                config_sha256=asked.config_sha256,
                resume=asked.end.resume,
                overwrite=asked.end.overwrite,
                progress=reporter,
            )
    if asked.part is None:
        models.print_mid_response(console, summary.path, found.scorer)
    return summary


def score(
    source: InputOptions,
    output: opt.Output,
    model: ModelOptions,
    engine: EngineOptions,
    scoring: ScoringOptions,
    writing: WritingOptions,
    end: EndOptions,
    machines: MachineOptions,
    templates: TemplateOptions,
    config: ConfigOptions,
    pairs: PairOptions,
    limit: opt.Limit = None,
    where: opt.Where = None,
) -> None:
    """Score a preference data set and keep the rewards; `mask` makes segments and masks from them."""
    from asr_data import pipeline

    checks = Checks()
    columns, pair_settings = source.roles(checks), pairs.config(checks)
    engines = engine.models(checks)
    scoring_settings = scoring.config(checks)
    end.check(checks)
    part = machines.part(checks)
    cluster = machines.cluster(checks, source.location)
    day = templates.day(checks)
    checks.finish()
    console = standard_output()
    rows, layout = open_input(source, columns, pair_settings, limit, where)
    print_input(console, rows, layout)
    pipeline.check_before_scoring(
        rows,
        layout,
        output,
        scoring=scoring_settings,
        writing=writing.config(),
        scorer_name=models.scorer_name(model),
        reference=model.logprobs is not None,
        part=part,
        resume=end.resume,
        overwrite=end.overwrite,
    )
    seen = pipeline.first_rows(rows, layout)
    with models.opened(model, scoring_settings, source.location, cluster, seen, rows.schema, engines) as found:
        models.print_scorer(console, found.scorer, None)
        with progress() as reporter:
            summary = pipeline.score(
                rows,
                layout,
                output,
                found.scorer,
                reference=found.reference,
                scoring=scoring_settings,
                writing=writing.config(),
                part=part,
                pool=found.pool,
                template_date=day,
                config_sha256=config.sha256,
                resume=end.resume,
                overwrite=end.overwrite,
                progress=reporter,
            )
    if part is None:
        models.print_mid_response(console, summary.path, found.scorer)
    finish_scored(summary, strict=end.strict, part=part)


def mask(
    scored: Annotated[
        Path,
        typer.Argument(metavar="DIR_WITH_SCORES", help="What `run` or `score` wrote.", show_default=False),
    ],
    output: opt.Output,
    mask: MaskOptions,
    end: EndOptions,
    templates: TemplateOptions,
    config: ConfigOptions,
    tokenizer: opt.MaskTokenizer = None,
) -> None:
    """Redo segments and masks from stored scores, at other settings; no reward model is needed."""
    from asr_data import pipeline

    checks = Checks()
    mask_settings = mask.config(checks)
    end.check(checks)
    day = templates.day(checks)
    checks.finish()
    policy = None if tokenizer is None else models.named_tokenizer(tokenizer)
    with progress() as reporter:
        summary = pipeline.mask(
            scored,
            output,
            policy,
            mask=mask_settings,
            template_date=day,
            config_sha256=config.sha256,
            resume=end.resume,
            overwrite=end.overwrite,
            progress=reporter,
        )
    finish(summary, strict=end.strict)
