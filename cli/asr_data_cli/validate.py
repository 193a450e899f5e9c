"""``validate``: every file, row and count of an annotated directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from asr_data.view.escape import visible
from asr_data_cli.console import standard_output

if TYPE_CHECKING:
    from asr_data.storage import Problem

VALIDATE_EXAMPLES = ("asr-annotate validate annotated",)


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
