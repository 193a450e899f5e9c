"""``inspect``: annotated rows in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from asr_data.errors import ConfigError
from asr_data.types import Side
from asr_data_cli.console import standard_output

if TYPE_CHECKING:
    from asr_data.storage import AnnotatedDirectory
    from asr_data.view.reading import AnnotatedRow

FIRST_ROWS = 3
SHOW = "Show"

INSPECT_EXAMPLES = (
    "asr-annotate inspect annotated",
    "asr-annotate inspect annotated --row 17 --row 4 --values",
    "asr-annotate inspect annotated --sample 10 --seed 7 --side rejected",
    "asr-annotate inspect annotated --sample 100 > sample.txt",
)

Rows: TypeAlias = Annotated[
    list[int] | None,
    typer.Option(
        "--row",
        min=0,
        help="Index of an input row, as in asr_row; may be repeated.",
        rich_help_panel=SHOW,
        show_default=False,
    ),
]
Seed: TypeAlias = Annotated[int, typer.Option("--seed", min=0, help="Seed of --sample.", rich_help_panel=SHOW)]
Gold: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--gold",
        metavar="COLUMN",
        help="Gold labels, whose faults are underlined: an input column, SIDE=COLUMN,… where there are two responses, "
        "format=NAME, another annotated directory, or the journal of labels of `view`.",
        rich_help_panel=SHOW,
        show_default="labels that the input is known to have",
    ),
]


def inspect(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
    rows: Rows = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            help="Number of rows to draw at random.",
            rich_help_panel=SHOW,
            show_default="the first 3 rows",
        ),
    ] = None,
    seed: Seed = 0,
    side: Annotated[
        Side | None,
        typer.Option("--side", help="Only this response.", rich_help_panel=SHOW, show_default="all"),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option("--width", min=20, help="Columns.", rich_help_panel=SHOW, show_default="the terminal's"),
    ] = None,
    values: Annotated[
        bool, typer.Option("--values", help="Write each segment's reward after it.", rich_help_panel=SHOW)
    ] = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="Draw the token rewards above each response.", rich_help_panel=SHOW)
    ] = False,
    gold: Gold = None,
) -> None:
    """Show responses with their segments: coloured by reward, what is not trained on struck out."""
    from asr_data.storage import open_output
    from asr_data.view.gold import gold_reader
    from asr_data.view.model import row_views
    from asr_data.view.terminal import show_rows

    check_choice(rows, sample)
    annotated = open_output(directory)
    views = row_views(annotated, _chosen_rows(annotated, rows, sample, seed), gold_reader(annotated, gold))
    if side is not None:
        if side not in annotated.manifest.sides:
            raise ConfigError(f"--side {side}: {directory} has {', '.join(annotated.manifest.sides)}")
        views = [view.only(side) for view in views]
    console = standard_output(width)
    if not views:
        console.print(f"{directory} has no annotated rows", markup=False, soft_wrap=True)
        return
    show_rows(console, views, values=values, curve=curve)


def check_choice(rows: Sequence[int] | None, sample: int | None) -> None:
    """Refuses rows and a sample together.

    Raises:
        ConfigError: both were given.
    """
    if rows and sample is not None:
        raise ConfigError("--row names rows and --sample draws them: give one of them")


def _chosen_rows(
    annotated: AnnotatedDirectory, rows: Sequence[int] | None, sample: int | None, seed: int
) -> list[AnnotatedRow]:
    from asr_data.view.reading import first_rows, require_showable, rows_by_index, sampled_rows

    if rows:
        chosen = rows_by_index(annotated, rows)
    else:
        chosen = first_rows(annotated, FIRST_ROWS) if sample is None else sampled_rows(annotated, sample, seed)
    require_showable(chosen)
    return chosen
