"""``run``, ``score`` and ``mask``: from a data set to an annotated directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from asr_data.config import MaskConfig, OutputConfig, ScoringConfig
from asr_data.errors import ConfigError
from asr_data_cli import options as opt
from asr_data_cli import settings
from asr_data_cli.console import (
    print_commands,
    print_facts,
    print_summary,
    print_warning,
    shell_words,
    standard_output,
)
from asr_data_cli.progress import progress
from asr_data_cli.settings import Checks, MaskOptions

if TYPE_CHECKING:
    from asr_data.pipeline import Summary
    from asr_data.rows import Layout, Source
    from asr_data.scoring import Scorer
    from asr_data.scoring.config import ScorerConfig
    from asr_data.scoring.reference import Reference
    from asr_data.text import Tokenizer

ROWS_REJECTED = 3
"""Exit code: done, but rows were rejected and ``--strict`` was given."""

RUN_EXAMPLES = (
    "asr-annotate run pairs.jsonl -o annotated",
    "asr-annotate run trl-lib/ultrafeedback_binarized --split train -o annotated --model MODEL_DIR "
    "--tokenizer POLICY_DIR",
    "asr-annotate run pairs.parquet -o annotated --columns prompt=question,chosen=good,rejected=bad",
    "asr-annotate run steps.jsonl -o annotated --kind labels --tokenizer POLICY_DIR",
    "asr-annotate run pairs.jsonl -o annotated --penalty bic --boundary word=10,inside-word=50",
    "asr-annotate run pairs.jsonl -o annotated --resume",
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


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Where the rows are and how to read them."""

    location: str
    split: str | None
    name: str | None
    revision: str | None
    columns: dict[str, str]


def run(
    location: opt.InputArgument,
    output: opt.Output,
    split: opt.Split = None,
    name: opt.Name = None,
    revision: opt.Revision = None,
    columns: opt.Columns = None,
    model: opt.Model = "builtin",
    kind: opt.Kind = "auto",
    preset: opt.Preset = None,
    scorer_config: opt.ScorerSettings = None,
    reference: opt.Reference = None,
    allow_pickle: opt.AllowPickle = False,
    logprobs: opt.Logprobs = None,
    tokenizer: opt.Tokenizer = None,
    dtype: opt.Dtype = "auto",
    device: opt.Device = "auto",
    batch_tokens: opt.BatchTokens = "auto",
    max_length: opt.MaxLength = None,
    segmenter: opt.Segmenter = "optimal",
    tau: opt.Tau = None,
    delta: opt.Delta = None,
    penalty: opt.Penalty = None,
    boundary: opt.Boundary = None,
    reward: opt.Reward = "value",
    sequence_reward: opt.SequenceReward = "mean",
    segment_reward: opt.SegmentReward = "mean",
    noise: opt.Noise = "dataset",
    baseline: opt.Baseline = "pair",
    on_empty: opt.OnEmpty = "keep-all",
    end_token: opt.EndToken = "keep",  # noqa: S107 - no password
    shard_rows: opt.ShardRows = 10_000,
    prefix: opt.Prefix = "",
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    strict: opt.Strict = False,
) -> None:
    """Score a preference data set, cut its responses into segments, and write training masks."""
    checks = Checks()
    found_columns: dict[str, str] = checks.attempt(lambda: settings.columns(columns or ()), {})
    scoring = ScoringConfig(
        dtype=dtype,
        device=device,
        batch_tokens=checks.attempt(lambda: settings.batch_tokens(batch_tokens), "auto"),
        max_length=max_length,
    )
    typed = MaskOptions(
        segmenter, tau, delta, penalty, boundary, baseline,
        reward, sequence_reward, segment_reward, noise, on_empty, end_token,
    )  # fmt: skip
    mask_settings = settings.mask_config(typed, checks)
    checks.attempt(lambda: settings.write_over(resume=resume, overwrite=overwrite), None)
    checks.finish()
    summary = annotate(
        InputOptions(location, split, name, revision, found_columns),
        output,
        ModelOptions(model, kind, tokenizer, preset, scorer_config, reference, allow_pickle, logprobs),
        scoring,
        mask_settings,
        OutputConfig(shard_rows=shard_rows, prefix=prefix),
        resume=resume,
        overwrite=overwrite,
    )
    finish(summary, strict=strict)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The reward model, and the policy tokenizer if it is another than the model's."""

    model: str
    kind: opt.KindName
    tokenizer: str | None
    preset: str | None = None
    scorer_config: Path | None = None
    reference: str | None = None
    allow_pickle: bool = False
    logprobs: str | None = None


def annotate(
    source_options: InputOptions,
    output: Path,
    model_options: ModelOptions,
    scoring: ScoringConfig,
    mask_settings: MaskConfig,
    writing: OutputConfig,
    *,
    resume: bool,
    overwrite: bool,
) -> Summary:
    """What ``run`` and ``demo`` share: open everything, say what was found, annotate."""
    from asr_data import pipeline

    console = standard_output()
    source, layout = _open_input(source_options)
    _print_input(console, source, layout)
    scorer = _open_scorer(model_options, scoring, source_options.location)
    policy = _policy_tokenizer(model_options.tokenizer, scorer)
    _print_scorer(console, scorer, policy)
    with progress() as reporter:
        summary = pipeline.run(
            source,
            layout,
            output,
            scorer,
            policy,
            reference=_open_reference(model_options.logprobs, scoring),
            scoring=scoring,
            mask=mask_settings,
            writing=writing,
            resume=resume,
            overwrite=overwrite,
            progress=reporter,
        )
    print_mid_response(console, summary.path, scorer)
    return summary


def print_mid_response(console: Console, path: Path, scorer: Scorer) -> None:
    """For a sequence head: how it ranks pairs at the end and in mid-response, and a warning where that is chance."""
    if scorer.info.kind != "seq_head":
        return
    from asr_data.pipeline.mid_response import check_mid_response

    found = check_mid_response(path)
    if found is None:
        return
    value = f"{found.in_middle:.1%} ({found.low:.1%} to {found.high:.1%}) in the middle, {found.at_end:.1%} at the end"
    print_facts(console, {"pairs right": f"{value}; {found.pairs:,} pairs"})
    if found.warning is not None:
        print_warning(found.warning)


def score(
    location: opt.InputArgument,
    output: opt.Output,
    split: opt.Split = None,
    name: opt.Name = None,
    revision: opt.Revision = None,
    columns: opt.Columns = None,
    model: opt.Model = "builtin",
    kind: opt.Kind = "auto",
    preset: opt.Preset = None,
    scorer_config: opt.ScorerSettings = None,
    reference: opt.Reference = None,
    allow_pickle: opt.AllowPickle = False,
    logprobs: opt.Logprobs = None,
    dtype: opt.Dtype = "auto",
    device: opt.Device = "auto",
    batch_tokens: opt.BatchTokens = "auto",
    max_length: opt.MaxLength = None,
    shard_rows: opt.ShardRows = 10_000,
    prefix: opt.Prefix = "",
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    strict: opt.Strict = False,
) -> None:
    """Score a preference data set and keep the rewards; `mask` makes segments and masks from them."""
    from asr_data import pipeline

    checks = Checks()
    found_columns: dict[str, str] = checks.attempt(lambda: settings.columns(columns or ()), {})
    scoring = ScoringConfig(
        dtype=dtype,
        device=device,
        batch_tokens=checks.attempt(lambda: settings.batch_tokens(batch_tokens), "auto"),
        max_length=max_length,
    )
    checks.attempt(lambda: settings.write_over(resume=resume, overwrite=overwrite), None)
    checks.finish()
    console = standard_output()
    source, layout = _open_input(InputOptions(location, split, name, revision, found_columns))
    _print_input(console, source, layout)
    found = ModelOptions(model, kind, None, preset, scorer_config, reference, allow_pickle, logprobs)
    scorer = _open_scorer(found, scoring, location)
    _print_scorer(console, scorer, None)
    with progress() as reporter:
        summary = pipeline.score(
            source,
            layout,
            output,
            scorer,
            reference=_open_reference(logprobs, scoring),
            scoring=scoring,
            writing=OutputConfig(shard_rows=shard_rows, prefix=prefix),
            resume=resume,
            overwrite=overwrite,
            progress=reporter,
        )
    print_summary(console, summary)
    print_mid_response(console, summary.path, scorer)
    masked = shell_words("asr-annotate", "mask", summary.path, "-o", f"{summary.path}-masked")
    print_commands(console, "Next", [("cut segments and make masks, in seconds", masked)])
    exit_if_rejected(summary, strict=strict)


def mask(
    scored: Annotated[
        Path,
        typer.Argument(metavar="DIR_WITH_SCORES", help="What `run` or `score` wrote.", show_default=False),
    ],
    output: opt.Output,
    tokenizer: opt.MaskTokenizer = None,
    segmenter: opt.Segmenter = "optimal",
    tau: opt.Tau = None,
    delta: opt.Delta = None,
    penalty: opt.Penalty = None,
    boundary: opt.Boundary = None,
    reward: opt.Reward = "value",
    sequence_reward: opt.SequenceReward = "mean",
    segment_reward: opt.SegmentReward = "mean",
    noise: opt.Noise = "dataset",
    baseline: opt.Baseline = "pair",
    on_empty: opt.OnEmpty = "keep-all",
    end_token: opt.EndToken = "keep",  # noqa: S107 - no password
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    strict: opt.Strict = False,
) -> None:
    """Redo segments and masks from stored scores, at other settings; no reward model is needed."""
    from asr_data import pipeline

    checks = Checks()
    typed = MaskOptions(
        segmenter, tau, delta, penalty, boundary, baseline,
        reward, sequence_reward, segment_reward, noise, on_empty, end_token,
    )  # fmt: skip
    mask_settings = settings.mask_config(typed, checks)
    checks.attempt(lambda: settings.write_over(resume=resume, overwrite=overwrite), None)
    checks.finish()
    policy = None if tokenizer is None else _named_tokenizer(tokenizer)
    with progress() as reporter:
        summary = pipeline.mask(
            scored,
            output,
            policy,
            mask=mask_settings,
            resume=resume,
            overwrite=overwrite,
            progress=reporter,
        )
    finish(summary, strict=strict)


def finish(summary: Summary, *, strict: bool) -> None:
    """Print the summary of a masked directory and what to type next; code 3 where ``--strict`` asks for it.

    Raises:
        typer.Exit: rows were rejected and ``strict`` is true.
    """
    console = standard_output()
    print_summary(console, summary)
    print_next(console, summary.path)
    exit_if_rejected(summary, strict=strict)


def print_next(console: Console, path: Path) -> None:
    """Commands that a user of a new annotated directory is likely to want."""
    load = f"import datasets; print(datasets.load_dataset({str(path)!r}, split='train'))"
    commands = [
        ("look at a few responses", shell_words("asr-annotate", "inspect", path, "--sample", 5)),
        ("open it in Python", shell_words("python", "-c", load)),
        (
            "try another segmenter, without scoring again",
            shell_words("asr-annotate", "mask", path, "-o", f"{path}-schmitt", "--segmenter", "schmitt"),
        ),
    ]
    print_commands(console, "Next", commands)


def exit_if_rejected(summary: Summary, *, strict: bool) -> None:
    """Leave with code 3 where rows were rejected and ``--strict`` was given."""
    if strict and summary.rejected:
        raise typer.Exit(ROWS_REJECTED)


def _open_input(options: InputOptions) -> tuple[Source, Layout]:
    from asr_data.rows import detect, first_records, open_source

    source = open_source(options.location, split=options.split, name=options.name, revision=options.revision)
    return source, detect(source.schema, first_records(source), options.columns)


def _open_scorer(options: ModelOptions, scoring: ScoringConfig, location: str) -> Scorer:
    from asr_data import load_scorer

    return load_scorer(
        options.model,
        options.kind,
        preset=options.preset,
        config=None if options.scorer_config is None else _scorer_settings(options.scorer_config, location),
        reference=options.reference,
        scoring=scoring,
        allow_pickle=options.allow_pickle,
    )


def _scorer_settings(path: Path, location: str) -> ScorerConfig:
    """Settings from a file of the user's own: what comes with a data set does not say how a model is read."""
    from asr_data.scoring.config import read_config

    data = Path(location)
    if data.is_dir() and path.resolve().is_relative_to(data.resolve()):
        raise ConfigError(f"--scorer-config {path} lies in the data set {location}; take settings of your own")
    return read_config(path)


def _open_reference(model: str | None, scoring: ScoringConfig) -> Reference | None:
    if model is None:
        return None
    from asr_data.scoring.reference import load_reference

    return load_reference(model, scoring)


def _policy_tokenizer(name: str | None, scorer: Scorer) -> Tokenizer:
    if name is not None:
        return _named_tokenizer(name)
    if scorer.tokenizer is None:
        raise ConfigError(
            f"{scorer.info.name!r} has no tokenizer of its own: name the policy's with --tokenizer (builtin is the "
            "built-in model's)"
        )
    return scorer.tokenizer


def _named_tokenizer(name: str) -> Tokenizer:
    if name == "builtin":
        from asr_data.scoring.load import load_scorer_tokenizer

        return load_scorer_tokenizer(name)
    from asr_data.text import load_tokenizer

    return load_tokenizer(name)


def _print_input(console: Console, source: Source, layout: Layout) -> None:
    print_facts(console, {"input": source.description, "layout": layout.describe()})


def _print_scorer(console: Console, scorer: Scorer, policy: Tokenizer | None) -> None:
    info = scorer.info
    facts = {"model": f"{info.name} ({info.kind}, gives {info.form}s)"}
    if "recognised" in info.settings:
        facts["read as"] = str(info.settings["recognised"])
    if policy is not None:
        facts["tokenizer"] = policy.name
    print_facts(console, facts)
