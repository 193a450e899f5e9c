"""``evaluate``: masks against gold labels and controls, directories side by side, and a sweep over settings."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from asr_data.errors import ConfigError, StorageError
from asr_data_cli import evaluation_records as records
from asr_data_cli import evaluation_tables as tables
from asr_data_cli.console import standard_output
from asr_data_cli.options import INPUT, MaskTokenizer

if TYPE_CHECKING:
    from asr_data.evaluation import GoldOptions
    from asr_data.text import Tokenizer

SHOW = "Show"
OUTPUT = "Output"

EVALUATE_EXAMPLES = (
    "asr-annotate evaluate annotated",
    "asr-annotate evaluate annotated --gold rejected=fault_spans",
    "asr-annotate evaluate annotated --gold by-hand --json figures.json",
    "asr-annotate evaluate annotated annotated-schmitt --side rejected --csv figures.csv",
    "asr-annotate evaluate annotated --gold error_spans --sweep --by balanced_accuracy --csv sweep.csv",
)


@dataclass(frozen=True, slots=True)
class GoldLabels:
    """What is gold, and how it is counted."""

    gold: Annotated[
        str | None,
        typer.Option(
            "--gold",
            metavar="COLUMN|SIDE=COLUMN,…|DIR|FILE",
            help="The gold labels: a column of spans, steps or sentence scores; rejected=COLUMN names the response; "
            "format=NAME reads a known format; a second annotated directory; or the journal of labels of `view`.",
            rich_help_panel=INPUT,
            show_default="the labels that the input was read with, if any",
        ),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="COLUMN",
            help="Rows that share this column's value are drawn together by the bootstrap.",
            rich_help_panel=INPUT,
            show_default="the prompt",
        ),
    ] = None
    tokenizer: MaskTokenizer = None
    threshold: Annotated[
        float,
        typer.Option("--threshold", help="Text is faulty where its gold label is below.", rich_help_panel=INPUT),
    ] = 0.5
    tolerance: Annotated[
        int,
        typer.Option(
            "--tolerance",
            min=0,
            help="Tokens by which a segment start may miss a gold boundary and still match it.",
            rich_help_panel=INPUT,
        ),
    ] = 2
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Draws of the bootstrap.", rich_help_panel=INPUT)
    ] = 2000
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.", rich_help_panel=INPUT)] = 0
    side: Annotated[
        Literal["both", "chosen", "rejected"],
        typer.Option("--side", help="The responses that figures are of; pairs are always both.", rich_help_panel=INPUT),
    ] = "both"

    def options(self) -> GoldOptions:
        """As the library takes them."""
        from asr_data.evaluation import GoldOptions

        return GoldOptions(self.gold, self.group, self.threshold, self.tolerance, self.resamples, self.seed, self.side)

    def policy(self) -> Tokenizer | None:
        """The tokenizer that was named."""
        from asr_data.text import load_tokenizer

        return None if self.tokenizer is None else load_tokenizer(self.tokenizer)


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Whether many settings are tried, and which are shown."""

    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep", help="Try many settings of segments and masks on the stored scores.", rich_help_panel=SHOW
        ),
    ] = False
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="MEASURE",
            help="What orders the settings of --sweep.",
            rich_help_panel=SHOW,
            show_default="balanced_accuracy",
        ),
    ] = None
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="Settings of --sweep to show.", rich_help_panel=SHOW, show_default="15"),
    ] = None

    def check(self, directories: Sequence[Path]) -> None:
        """Raise ConfigError where they do not go together."""
        if not self.sweep and (self.by is not None or self.top is not None):
            raise ConfigError("--by and --top belong to --sweep")
        if self.sweep and len(directories) > 1:
            raise ConfigError(
                f"--sweep tries settings on the scores of one directory, and there are {len(directories)}"
            )


@dataclass(frozen=True, slots=True)
class FigureFiles:
    """Files that all figures are written to."""

    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write all figures to this file.", rich_help_panel=OUTPUT),
    ] = None
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write all figures to this file.", rich_help_panel=OUTPUT),
    ] = None

    def write(self, record: Mapping[str, object], lines: Sequence[Mapping[str, object]]) -> None:
        """The record as JSON, its lines as CSV."""
        if self.json_file is not None:
            with _written(self.json_file) as file:
                json.dump(record, file, indent=2, ensure_ascii=False)
                file.write("\n")
        if self.csv_file is not None:
            with _written(self.csv_file) as file:
                writer = csv.DictWriter(file, fieldnames=list(lines[0]))
                writer.writeheader()
                writer.writerows(lines)


def evaluate(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR…",
            help="An annotated directory; several of the same input are compared with the first.",
            show_default=False,
        ),
    ],
    labels: GoldLabels,
    trying: SweepOptions,
    files: FigureFiles,
) -> None:
    """Measure rewards, segments and masks against gold labels and beside controls, with intervals over prompts."""
    from asr_data.evaluation import comparing, evaluating

    trying.check(directories)
    options, policy = labels.options(), labels.policy()
    console = standard_output()
    if trying.sweep:
        tried = evaluating.sweep(directories[0], policy, options=options, by=trying.by or "balanced_accuracy")
        tables.print_sweep(console, tried, trying.top or 15)
        lines = [records.setting_line(one) for one in (tried.own, *tried.settings)]
        files.write(records.of_sweep(tried), lines)
    elif len(directories) > 1:
        compared = comparing.compare(directories, policy, options=options)
        tables.print_compared(console, compared)
        files.write(records.of_compared(compared), records.compared_lines(compared))
    else:
        found = evaluating.evaluate(directories[0], policy, options=options)
        tables.print_evaluation(console, found)
        files.write(records.of_evaluation(found), records.evaluation_lines(found))


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with file:
            yield file
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
