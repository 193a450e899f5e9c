"""``demo``: the whole job on the sample that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr_data.config import MaskConfig, OutputConfig, ScoringConfig
from asr_data_cli import options as opt
from asr_data_cli.annotate import annotate, print_next
from asr_data_cli.console import print_summary, standard_output
from asr_data_cli.option_groups import InputOptions, ModelOptions
from asr_data_cli.options import OUTPUT
from asr_data_cli.validate import print_problems

DEMO_EXAMPLES = ("asr-annotate demo", "asr-annotate demo -o demo --overwrite")
SHOWN_RESPONSES = 3


def demo(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Directory to write.", rich_help_panel=OUTPUT),
    ] = Path("asr-demo"),
    overwrite: opt.Overwrite = False,
) -> None:
    """Annotate the sample that ships with the built-in reward model, show it and check it."""
    from asr_data.sample import sample_path
    from asr_data.storage import open_output, validate
    from asr_data.view.gold import gold_reader
    from asr_data.view.model import row_views
    from asr_data.view.reading import first_rows
    from asr_data.view.terminal import show_rows

    summary = annotate(
        InputOptions(str(sample_path())),
        output,
        ModelOptions(),
        ScoringConfig(),
        MaskConfig(),
        OutputConfig(),
        columns={},
        resume=False,
        overwrite=overwrite,
    )
    console = standard_output()
    print_summary(console, summary)
    annotated = open_output(output)
    show_rows(console, row_views(annotated, first_rows(annotated, SHOWN_RESPONSES), gold_reader(annotated)))
    problems = validate(output)
    print_problems(console, output, problems)
    if problems:
        raise typer.Exit(1)
    print_next(console, output)
