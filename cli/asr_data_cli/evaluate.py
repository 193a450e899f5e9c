"""``evaluate``: masks against gold labels and controls, directories side by side, and a sweep over settings."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TextIO

import typer

from asr_data.errors import ConfigError, StorageError
from asr_data_cli import evaluation_records as records
from asr_data_cli import evaluation_tables as tables
from asr_data_cli.console import standard_output
from asr_data_cli.options import INPUT, MaskTokenizer

SHOW = "Show"
OUTPUT = "Output"

EVALUATE_EXAMPLES = (
    "asr-annotate evaluate annotated",
    "asr-annotate evaluate annotated --gold rejected=fault_spans",
    "asr-annotate evaluate annotated --gold by-hand --json figures.json",
    "asr-annotate evaluate annotated annotated-schmitt --side rejected --csv figures.csv",
    "asr-annotate evaluate annotated --gold error_spans --sweep --by balanced_accuracy --csv sweep.csv",
)


def evaluate(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR…",
            help="An annotated directory; several of the same input are compared with the first.",
            show_default=False,
        ),
    ],
    gold: Annotated[
        str | None,
        typer.Option(
            "--gold",
            metavar="COLUMN|SIDE=COLUMN,…|DIR",
            help="The gold labels: a column of spans, steps or sentence scores; rejected=COLUMN names the response; "
            "format=NAME reads a known format; or a second annotated directory.",
            rich_help_panel=INPUT,
            show_default="the labels that the input was read with, if any",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="COLUMN",
            help="Rows that share this column's value are drawn together by the bootstrap.",
            rich_help_panel=INPUT,
            show_default="the prompt",
        ),
    ] = None,
    tokenizer: MaskTokenizer = None,
    threshold: Annotated[
        float,
        typer.Option("--threshold", help="Text is faulty where its gold label is below.", rich_help_panel=INPUT),
    ] = 0.5,
    tolerance: Annotated[
        int,
        typer.Option(
            "--tolerance",
            min=0,
            help="Tokens by which a segment start may miss a gold boundary and still match it.",
            rich_help_panel=INPUT,
        ),
    ] = 2,
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Draws of the bootstrap.", rich_help_panel=INPUT)
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.", rich_help_panel=INPUT)] = 0,
    side: Annotated[
        Literal["both", "chosen", "rejected"],
        typer.Option("--side", help="The responses that figures are of; pairs are always both.", rich_help_panel=INPUT),
    ] = "both",
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep", help="Try many settings of segments and masks on the stored scores.", rich_help_panel=SHOW
        ),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="MEASURE",
            help="What orders the settings of --sweep.",
            rich_help_panel=SHOW,
            show_default="balanced_accuracy",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="Settings of --sweep to show.", rich_help_panel=SHOW, show_default="15"),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write all figures to this file.", rich_help_panel=OUTPUT),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write all figures to this file.", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Measure rewards, segments and masks against gold labels and beside controls, with intervals over prompts."""
    from asr_data.evaluation import GoldOptions, comparing, evaluating
    from asr_data.text import load_tokenizer

    if not sweep and (by is not None or top is not None):
        raise ConfigError("--by and --top belong to --sweep")
    if sweep and len(directories) > 1:
        raise ConfigError(f"--sweep tries settings on the scores of one directory, and there are {len(directories)}")
    options = GoldOptions(gold, group, threshold, tolerance, resamples, seed, side)
    policy = None if tokenizer is None else load_tokenizer(tokenizer)
    console = standard_output()
    if sweep:
        tried = evaluating.sweep(directories[0], policy, options=options, by=by or "balanced_accuracy")
        tables.print_sweep(console, tried, top or 15)
        lines = [records.setting_line(one) for one in (tried.own, *tried.settings)]
        _write(json_file, csv_file, records.of_sweep(tried), lines)
    elif len(directories) > 1:
        compared = comparing.compare(directories, policy, options=options)
        tables.print_compared(console, compared)
        _write(json_file, csv_file, records.of_compared(compared), records.compared_lines(compared))
    else:
        found = evaluating.evaluate(directories[0], policy, options=options)
        tables.print_evaluation(console, found)
        _write(json_file, csv_file, records.of_evaluation(found), records.evaluation_lines(found))


def _write(
    json_file: Path | None, csv_file: Path | None, record: Mapping[str, object], lines: Sequence[Mapping[str, object]]
) -> None:
    if json_file is not None:
        with _written(json_file) as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
            file.write("\n")
    if csv_file is not None:
        with _written(csv_file) as file:
            writer = csv.DictWriter(file, fieldnames=list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)


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
