"""``inspect`` and ``validate``: look at an annotated directory, and check it."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from asr_data.errors import ConfigError, InputError
from asr_data.types import Side
from asr_data.view.escape import visible
from asr_data_cli.console import standard_output

if TYPE_CHECKING:
    from asr_data.storage import AnnotatedDirectory, Problem
    from asr_data.view.model import RowView

FIRST_ROWS = 3
SHOW = "Show"

INSPECT_EXAMPLES = (
    "asr-annotate inspect annotated",
    "asr-annotate inspect annotated --row 17 --row 4 --values",
    "asr-annotate inspect annotated --sample 10 --seed 7 --side rejected",
    "asr-annotate inspect annotated --sample 100 > sample.txt",
)
VALIDATE_EXAMPLES = ("asr-annotate validate annotated",)


def inspect(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
    rows: Annotated[
        list[int] | None,
        typer.Option(
            "--row",
            min=0,
            help="Index of an input row, as in asr_row; may be repeated.",
            rich_help_panel=SHOW,
            show_default="the first 3 rows",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", min=1, help="So many rows drawn at random.", rich_help_panel=SHOW),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --sample.", rich_help_panel=SHOW)] = 0,
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
) -> None:
    """Show responses with their segments: coloured by reward, what is not trained on struck out."""
    from asr_data.storage import open_output
    from asr_data.view.terminal import show_rows

    if rows and sample is not None:
        raise ConfigError("--row names rows and --sample draws them: give one of them")
    annotated = open_output(directory)
    if rows:
        views = rows_by_index(annotated, rows)
    elif sample is not None:
        views = sampled_rows(annotated, sample, seed)
    else:
        views = first_rows(annotated, FIRST_ROWS)
    if side is not None:
        if side not in annotated.manifest.sides:
            raise ConfigError(f"--side {side}: {directory} has {', '.join(annotated.manifest.sides)}")
        views = [view.only(side) for view in views]
    console = standard_output(width)
    if not views:
        console.print(f"{directory} has no annotated rows", markup=False, soft_wrap=True)
        return
    show_rows(console, views, values=values)


def validate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
) -> None:
    """Check every file, row and count of an annotated directory; exit code 1 if anything is wrong."""
    from asr_data.storage import validate as find_problems

    problems = find_problems(directory)
    print_problems(standard_output(), directory, problems)
    if problems:
        raise typer.Exit(1)


def print_problems(console: Console, directory: Path, problems: Sequence[Problem]) -> None:
    """One line per problem, or that there is none."""
    for problem in problems:
        place = problem.file if problem.row is None else f"{problem.file}, row {problem.row}"
        console.print(Text(f"{visible(place)}: {visible(problem.message)}", style="red"), soft_wrap=True)
    if problems:
        console.print(f"{len(problems):,} problems in {directory}", style="red", markup=False, soft_wrap=True)
    else:
        console.print(f"valid: {directory}", markup=False, soft_wrap=True)


def first_rows(annotated: AnnotatedDirectory, count: int) -> list[RowView]:
    """The first ``count`` annotated rows."""
    return _at_positions(annotated, range(min(count, annotated.manifest.counts.annotated)))


def sampled_rows(annotated: AnnotatedDirectory, count: int, seed: int) -> list[RowView]:
    """``count`` annotated rows drawn without replacement, in input order; all where there are fewer."""
    total = annotated.manifest.counts.annotated
    draw = random.Random(seed).sample(range(total), min(count, total))  # noqa: S311 - not for secrets
    return _at_positions(annotated, draw)


def rows_by_index(annotated: AnnotatedDirectory, indices: Sequence[int]) -> list[RowView]:
    """The rows with these ``asr_row``, in the order asked for.

    Raises:
        InputError: a row was rejected (says why) or does not exist (says what does).
    """
    wanted = set(indices)
    column = f"{annotated.manifest.prefix}asr_row"
    positions, place = {}, 0
    for batch in annotated.data_batches(columns=[column]):
        for index in batch.column(0).to_pylist():
            if index in wanted:
                positions[index] = place
            place += 1
    missing = wanted - positions.keys()
    if missing:
        raise InputError(_why_missing(annotated, min(missing)))
    views = {view.index: view for view in _at_positions(annotated, set(positions.values()))}
    return [views[index] for index in indices]


def _why_missing(annotated: AnnotatedDirectory, index: int) -> str:
    for reject in annotated.rejects():
        if reject.index == index:
            return f"row {index} was rejected: {reject.code}: {reject.message}"
    return f"there is no row {index}: the input has rows 0 to {annotated.manifest.counts.rows - 1}"


def _at_positions(annotated: AnnotatedDirectory, positions: Collection[int]) -> list[RowView]:
    """Rows at these positions in ``data/``, in file order; only these become Python objects."""
    if annotated.manifest.stage != "masked":
        raise InputError(
            f"{annotated.path} holds scores and no segments yet: asr-annotate mask {annotated.path} -o DIR"
        )
    found: list[RowView] = []
    last, first = max(positions, default=-1), 0
    for batch in annotated.data_batches():
        if first > last:
            break
        inside = sorted(position - first for position in positions if 0 <= position - first < batch.num_rows)
        found += [_view(annotated, batch.slice(offset, 1).to_pylist()[0]) for offset in inside]
        first += batch.num_rows
    return found


def _view(annotated: AnnotatedDirectory, record: dict[str, Any]) -> RowView:
    from asr_data.rows import normalise, recorded_layout
    from asr_data.view.model import row_view

    manifest = annotated.manifest
    row = normalise(record[f"{manifest.prefix}asr_row"], record, recorded_layout(manifest.plan, manifest.sides))
    return row_view(row, record, prefix=manifest.prefix)
