"""``train-scorer``: fine-tune a token reward model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from asr_data.training.config import TrainingConfig, sources_of_old_options
from asr_data_cli import options as opt
from asr_data_cli.console import print_commands, print_facts, print_warning, shell_words, standard_output
from asr_data_cli.option_groups import field_options
from asr_data_cli.progress import progress
from asr_data_cli.settings import from_options

if TYPE_CHECKING:
    from asr_data.training.run import TrainingReport

DATA = "Data"
TRAINING = "Training"

OLD = "Older spellings"
_PANELS = {
    **dict.fromkeys(("held_out", "mixing"), DATA),
    **dict.fromkeys(("base", "method", "layer", "lora_rank", "lora_layers"), opt.MODEL),
}

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


@dataclass(frozen=True, slots=True)
class OldOptions:
    """What stood for sources in version 0.1."""

    preference: Annotated[list[Path] | None, _old("--preference", "Now FILE:preferences, without an option.")] = None
    spans: Annotated[list[Path] | None, _old("--spans", "Now FILE.")] = None
    steps: Annotated[list[Path] | None, _old("--steps", "Now FILE:labels.")] = None
    sentence_scores: Annotated[list[Path] | None, _old("--sentence-scores", "Now FILE:labels.")] = None
    span_pairs: Annotated[
        bool, _old("--span-pairs/--no-span-pairs", "--no-span-pairs: now FILE:labels in place of --spans FILE.")
    ] = True
    test_steps: Annotated[
        list[Path] | None, _old("--test-steps", "Now FILE:labels,test; nothing is held out of --steps then.")
    ] = None

    def sources(self) -> list[str]:
        """The same in today's words, after a warning."""
        found = sources_of_old_options(
            self.preference or (),
            self.spans or (),
            self.steps or (),
            self.sentence_scores or (),
            self.test_steps or (),
            span_pairs=self.span_pairs,
        )
        if found:
            print_warning(
                "--preference, --spans, --steps, --sentence-scores, --span-pairs and --test-steps will be removed "
                f"in the next version; write {shell_words(*found)}"
            )
        return found


class TrainingOptions:
    """An option for each field of ``TrainingConfig`` but the sources."""

    def __init__(self, typed: Mapping[str, Any]) -> None:
        self._typed = typed

    def config(self, sources: Sequence[str]) -> TrainingConfig:
        """The settings; an error names the option."""
        return from_options(TrainingConfig, {"sources": list(sources), **self._typed}, {"sources": "INPUT"})

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """The options, made from the fields."""
        names = [name for name in TrainingConfig.model_fields if name != "sources"]
        return field_options(TrainingConfig, names, lambda name: _PANELS.get(name, TRAINING))


def train_scorer(
    output: opt.Output,
    options: TrainingOptions,
    older: OldOptions,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT[:WORD,…]",
            help="One or more inputs, in any layout that run reads. Words: preferences or labels (learn only these), "
            "train (hold nothing out), test (only measure), split=, name=, revision=, group=COLUMN (held out "
            "together), scale=LOW..HIGH (of labels), criteria=helpfulness+coherence (weights of sentence scores), "
            "chosen=COLUMN and other roles of run --columns.",
            rich_help_panel="Sources",
        ),
    ] = None,
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
    config = options.config([*(sources or ()), *older.sources()])
    _train(config, output, resume=resume)


def _train(config: TrainingConfig, output: Path, *, resume: bool) -> None:
    from asr_data.training.run import train_scorer as train

    with progress() as reporter:
        report = train(config, output, resume=resume, progress=reporter)
    _print_report(report)


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
