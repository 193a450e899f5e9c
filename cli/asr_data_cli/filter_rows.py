"""``filter``: some rows of an annotated directory, as a directory of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr_data_cli import options as opt
from asr_data_cli import settings
from asr_data_cli.ending import finish, finish_scored
from asr_data_cli.progress import progress

ROWS = "Rows"

FILTER_EXAMPLES = (
    'asr-annotate filter annotated -o confident --where "margin > 0 AND kept_chosen > 0.2"',
    "asr-annotate filter annotated -o few --where \"topic = 'code'\" --sample 1000 --seed 7",
    "asr-annotate filter annotated -o few --sample 1000",
)


def filter_rows(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
    output: opt.Output,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Keep rows that meet it, in SQL: over the input's columns, the added ones, margin, kept_S, tokens_S "
            "and segments_S.",
            rich_help_panel=ROWS,
            show_default="all rows",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", min=1, help="Draw so many of them at random.", rich_help_panel=ROWS, show_default="all"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of --sample.", rich_help_panel=ROWS)] = 0,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
) -> None:
    """Write some rows of an annotated directory as another one, whose rejects list the others."""
    from asr_data import tables

    settings.write_over(resume=resume, overwrite=overwrite)
    with progress() as reporter:
        summary = tables.filter_rows(
            directory,
            output,
            where=where,
            sample=sample,
            seed=seed,
            resume=resume,
            overwrite=overwrite,
            progress=reporter,
        )
    ended = finish if summary.sides else finish_scored
    ended(summary, strict=False)
