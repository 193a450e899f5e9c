"""``train-scorer``: fine-tune a token reward model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich import box
from rich.table import Table

from asr_data.errors import ConfigError
from asr_data_cli import options as opt
from asr_data_cli.console import print_commands, print_facts, print_warning, shell_words, standard_output
from asr_data_cli.progress import progress

if TYPE_CHECKING:
    from asr_data.training import TrainingConfig
    from asr_data.training.run import TrainingReport

DATA = "Data"
TRAINING = "Training"

OLD = "Older spellings"

TRAIN_EXAMPLES = (
    "asr-annotate train-scorer pairs.jsonl -o scorer",
    "asr-annotate train-scorer pairs.jsonl:preferences errors.jsonl prm800k.jsonl test.jsonl:test -o scorer",
    "asr-annotate train-scorer owner/name:split=train owner/name:test,split=test -o scorer",
    "asr-annotate train-scorer prm800k.jsonl sentences.jsonl --epochs 2 -o scorer",
    "asr-annotate train-scorer steps.jsonl --base BACKBONE_DIR --lora-rank 0 -o scorer",
    "asr-annotate run pairs.jsonl --model scorer -o annotated",
)


def _old(option: str, help_text: str) -> Any:
    return typer.Option(option, help=help_text, rich_help_panel=OLD)


def train_scorer(
    output: opt.Output,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT[:WORD,…]...",
            help="What to train on, in any layout that run reads. Words: preferences or labels (learn only these), "
            "train (hold nothing out), test (only measure), split=, name=, revision=, group=COLUMN (held out "
            "together), scale=LOW..HIGH (of labels), criteria=helpfulness+coherence (weights of sentence scores), "
            "chosen=COLUMN and other roles of run --columns.",
            rich_help_panel=DATA,
        ),
    ] = None,
    preference: Annotated[list[Path] | None, _old("--preference", "Now FILE:preferences, without an option.")] = None,
    spans: Annotated[list[Path] | None, _old("--spans", "Now FILE.")] = None,
    steps: Annotated[list[Path] | None, _old("--steps", "Now FILE:labels.")] = None,
    sentence_scores: Annotated[list[Path] | None, _old("--sentence-scores", "Now FILE:labels.")] = None,
    span_pairs: Annotated[
        bool, _old("--span-pairs/--no-span-pairs", "--no-span-pairs: now FILE:labels in place of --spans FILE.")
    ] = True,
    test_steps: Annotated[
        list[Path] | None, _old("--test-steps", "Now FILE:labels,test; nothing is held out of --steps then.")
    ] = None,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Share of prompts kept for figures.", rich_help_panel=DATA)
    ] = 0.15,
    mixing: Annotated[
        float,
        typer.Option("--mixing", help="A source of T tokens is drawn in proportion to T^MIXING.", rich_help_panel=DATA),
    ] = 0.5,
    base: Annotated[
        str,
        typer.Option("--base", help="Backbone: builtin, a directory or a Hub id.", rich_help_panel=opt.MODEL),
    ] = "builtin",
    lora_rank: Annotated[
        int, typer.Option("--lora-rank", help="0 trains the whole backbone.", rich_help_panel=opt.MODEL)
    ] = 16,
    lora_layers: Annotated[
        int | None,
        typer.Option(
            "--lora-layers", help="Adapt only the last layers.", rich_help_panel=opt.MODEL, show_default="all"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            help="Train on every example this many times, in place of --max-tokens.",
            rich_help_panel=TRAINING,
            show_default="none",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", help="Tokens to train on, in all.", rich_help_panel=TRAINING, show_default="2000000"
        ),
    ] = None,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", help="Tokens per optimiser step.", rich_help_panel=TRAINING)
    ] = 4096,
    micro_batch_tokens: Annotated[
        int,
        typer.Option(
            "--micro-batch-tokens",
            help="Padded tokens per forward pass; bounds the memory.",
            rich_help_panel=TRAINING,
        ),
    ] = 2048,
    max_length: Annotated[
        int,
        typer.Option("--max-length", help="Longer examples are left out and counted.", rich_help_panel=TRAINING),
    ] = 1024,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Highest learning rate.", rich_help_panel=TRAINING)
    ] = 5e-4,
    warmup: Annotated[
        float, typer.Option("--warmup", help="Share of steps with a rising rate.", rich_help_panel=TRAINING)
    ] = 0.05,
    rank_weight: Annotated[
        float,
        typer.Option(
            "--rank-weight", help="Share of the ranking loss on labelled responses.", rich_help_panel=TRAINING
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option("--seed", help="Seed of every random choice.", rich_help_panel=TRAINING)] = 17,
    checkpoint_steps: Annotated[
        int, typer.Option("--checkpoint-steps", help="Steps between checkpoints.", rich_help_panel=TRAINING)
    ] = 50,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue a training that was stopped; refused where settings or data differ.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = False,
) -> None:
    """Fine-tune a token reward model on preferences and labels, from any data that run reads.

    Each source is read and described before a model is loaded: what it was taken for, how many of its rows are used,
    and why others are not.
    """
    from asr_data.training.config import sources_of_old_options

    older = sources_of_old_options(
        preference or (),
        spans or (),
        steps or (),
        sentence_scores or (),
        test_steps or (),
        span_pairs=span_pairs,
    )
    if older:
        print_warning(
            "--preference, --spans, --steps, --sentence-scores, --span-pairs and --test-steps go with the next "
            f"version; write {shell_words(*older)}"
        )
    config = _training_config(
        sources=[*(sources or ()), *older],
        held_out=held_out,
        mixing=mixing,
        base=base,
        lora_rank=lora_rank,
        lora_layers=lora_layers,
        epochs=epochs,
        max_tokens=max_tokens,
        batch_tokens=batch_tokens,
        micro_batch_tokens=micro_batch_tokens,
        max_length=max_length,
        learning_rate=learning_rate,
        warmup=warmup,
        rank_weight=rank_weight,
        seed=seed,
        checkpoint_steps=checkpoint_steps,
    )
    _train(config, output, resume=resume)


def _train(config: TrainingConfig, output: Path, *, resume: bool) -> None:
    from asr_data.training.run import train_scorer as train

    with progress() as reporter:
        report = train(config, output, resume=resume, progress=reporter)
    _print_report(report)


def _training_config(**fields: object) -> TrainingConfig:
    from asr_data.training import TrainingConfig

    try:
        return TrainingConfig.model_validate(fields)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            if problem["loc"][:1] == ("sources",):
                missing = problem["type"] == "too_short"
                said = problem["msg"].removeprefix("Value error, ")
                problems.append("no training data: name at least one INPUT" if missing else said)
                continue
            option = "".join(f"--{str(part).replace('_', '-')} " for part in problem["loc"][:1])
            given = f" (given: {problem['input']})" if option else ""
            problems.append(f"{option}{problem['msg'].removeprefix('Value error, ')}{given}")
        raise ConfigError("; ".join(problems)) from error


def _print_report(report: TrainingReport) -> None:
    console = standard_output()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("held out")
    for name in ("figure", "interval", "chance", "length alone", "items"):
        table.add_column(name, justify="right")
    for figure in report.figures:
        low, high = figure.low, figure.high
        interval = "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        table.add_row(
            figure.name,
            f"{figure.value:.3f}",
            interval,
            _decimal(figure.chance),
            _decimal(figure.length_baseline),
            f"{figure.items:,}",
        )
    console.print(table)
    print_facts(console, {"scorer": str(report.path)})
    command = shell_words("asr-annotate", "run", "INPUT", "--model", report.path, "-o", "annotated")
    print_commands(console, "Next", [("annotate a data set with it", command)])


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
