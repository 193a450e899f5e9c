"""How commands that write an annotated directory end: the summary, what to type next, and the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from asr_data.errors import InputError
from asr_data_cli.console import print_commands, print_summary, shell_words, standard_output

if TYPE_CHECKING:
    from asr_data.config import Part
    from asr_data.pipeline import Summary

ROWS_REJECTED = 3
"""Exit code: done, but rows were rejected and ``--strict`` was given."""


def finish(summary: Summary, *, strict: bool, part: Part | None = None) -> None:
    """Print the summary of a masked directory and what to type next; code 3 where ``--strict`` asks for it.

    Raises:
        InputError: every row was rejected.
        typer.Exit: rows were rejected and ``strict`` is true.
    """
    console = standard_output()
    print_summary(console, summary)
    require_rows(summary, part)
    if part is None:
        print_next(console, summary.path)
    else:
        print_merge(console, part)
    exit_if_rejected(summary, strict=strict)


def finish_scored(summary: Summary, *, strict: bool, part: Part | None = None) -> None:
    """The same for a directory without masks."""
    console = standard_output()
    print_summary(console, summary)
    require_rows(summary, part)
    if part is None:
        masked = shell_words("asr-annotate", "mask", summary.path, "-o", f"{summary.path}-masked")
        print_commands(console, "Next", [("cut segments and make masks, in seconds", masked)])
    else:
        print_merge(console, part)
    exit_if_rejected(summary, strict=strict)


def print_merge(console: Console, part: Part) -> None:
    """What follows a part."""
    purpose = f"this was part {part.shard_index} of {part.num_shards}; once all are done"
    print_commands(console, "Next", [(purpose, "asr-annotate merge PART_DIR… -o DIR")])


def print_next(console: Console, path: Path) -> None:
    """What a user of a new annotated directory is likely to want next."""
    commands = [
        ("look at a few responses", shell_words("asr-annotate", "inspect", path, "--sample", 5)),
        ("open it in Python", f"datasets.load_dataset({str(path)!r}, split='train')"),
        (
            "try another segmenter, without scoring again",
            shell_words("asr-annotate", "mask", path, "-o", f"{path}-schmitt", "--segmenter", "schmitt"),
        ),
    ]
    print_commands(console, "Next", commands)


def require_rows(summary: Summary, part: Part | None) -> None:
    """Refuse to call it a success where nothing was annotated. A part may have no row that can be.

    Raises:
        InputError: every row was rejected.
    """
    if part is None and not summary.annotated:
        reasons = ", ".join(f"{code} {count:,}" for code, count in summary.rejects.items())
        raise InputError(f"none of the {summary.rows:,} rows could be annotated: {reasons}; see {summary.path}/rejects")


def exit_if_rejected(summary: Summary, *, strict: bool) -> None:
    """Leave with code 3 where rows were rejected and ``--strict`` was given; rows left out on request are none."""
    if strict and summary.rejected > summary.rejects.get("left_out", 0):
        raise typer.Exit(ROWS_REJECTED)
