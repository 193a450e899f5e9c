"""``report``: an annotated directory as one HTML file to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr_data_cli import options as opt
from asr_data_cli.console import print_facts, standard_output
from asr_data_cli.export import policy_tokenizer
from asr_data_cli.inspect_rows import SHOW, Gold, Rows, Seed, check_choice

REPORT_EXAMPLES = (
    "asr-annotate report annotated -o report.html",
    "asr-annotate report annotated -o report.html --sample 2000 --seed 7 --overwrite",
    "asr-annotate report annotated -o rows.html --row 17 --row 4 --gold rejected=fault_spans",
)


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="HTML file to write.",
            rich_help_panel=opt.OUTPUT,
            show_default=False,
        ),
    ],
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            help="Number of rows to draw at random; all rows if there are fewer.",
            rich_help_panel=SHOW,
            show_default="500",
        ),
    ] = None,
    seed: Seed = 0,
    rows: Rows = None,
    gold: Gold = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="The policy's tokenizer, a directory, a Hub id or builtin; none tints whole segments.",
            rich_help_panel=opt.INPUT,
            show_default="the one that the masks were made with",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there.", rich_help_panel=opt.OUTPUT)
    ] = False,
) -> None:
    """Write one HTML file: figures over all rows, and rows with tokens tinted by reward and segments outlined."""
    from asr_data.storage import open_output
    from asr_data.view.report import DEFAULT_ROWS, write_report

    check_choice(rows, sample)
    annotated = open_output(directory)
    done = write_report(
        annotated,
        output,
        tokenizer=None if tokenizer == "none" else policy_tokenizer(annotated.manifest, tokenizer),
        rows=rows or None,
        sample=DEFAULT_ROWS if sample is None else sample,
        seed=seed,
        gold=gold,
        overwrite=overwrite,
    )
    facts = {"rows": f"{done.rows:,} of {done.of:,} are shown", "size": f"{done.size / 1e6:.1f} MB"}
    print_facts(standard_output(), {**facts, "output": str(done.path)})
