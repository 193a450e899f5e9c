"""``push``: an annotated directory onto the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from asr_data.view.escape import visible
from asr_data_cli.console import print_facts, print_warning, standard_output

if TYPE_CHECKING:
    from asr_data.hub import PushReport

PUSH_EXAMPLES = (
    "asr-annotate push annotated USER/NAME --dry-run",
    "asr-annotate push annotated USER/NAME --private",
    "asr-annotate push annotated USER/NAME --create-pr",
)

_UNITS = ("bytes", "kB", "MB", "GB")


def push(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
    repository: Annotated[
        str,
        typer.Argument(metavar="USER/NAME", help="Dataset repository; created if missing.", show_default=False),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Create a private repository; an existing public one is an error.")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="Branch; created from main if missing.", show_default="main"),
    ] = None,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request instead of committing to main.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be uploaded.")] = False,
) -> None:
    """Push an annotated directory to the Hugging Face Hub in one commit; unchanged files are not sent again.

    The token comes from `hf auth login` or HF_TOKEN, the server from HF_ENDPOINT.
    """
    from asr_data.hub import push as push_directory

    report = push_directory(
        directory, repository, private=private, revision=revision, create_pr=create_pr, dry_run=dry_run
    )
    print_report(standard_output(), report)


def print_report(console: Console, report: PushReport) -> None:
    """Print what was pushed; for a dry run, what would be, file by file."""
    if not report.compared:
        print_warning("the Hub could not be reached; every file counts as new")
    if report.dry_run:
        for action, names in (("upload", report.uploaded), ("delete", report.deleted)):
            for name in names:
                console.print(Text(f"{action}  {visible(name)}"), soft_wrap=True)
    would = "would be " if report.dry_run else ""
    facts = {
        f"{would}uploaded": f"{len(report.uploaded):,} files, {_size(report.uploaded_bytes)}",
        f"{would}deleted": f"{len(report.deleted):,} files" if report.deleted else "",
        "unchanged": f"{len(report.unchanged):,} files" if report.unchanged else "",
        "repository": f"{would}created" if report.created else "",
        "commit": report.commit or "",
        "see": report.url,
    }
    print_facts(console, {name: value for name, value in facts.items() if value})


def _size(count: int) -> str:
    """``999 bytes``, ``1.2 MB``; decimal, as the Hub shows sizes."""
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{count} bytes" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"
