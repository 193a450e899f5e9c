"""``query``: SQL over an annotated directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from asr_data.errors import ConfigError
from asr_data.view.escape import visible
from asr_data_cli import options as opt
from asr_data_cli.console import standard_error, standard_output

if TYPE_CHECKING:
    import polars as pl

SHOWN_ROWS = 50
"""Rows of a table in the terminal."""

QUERY_EXAMPLES = (
    'asr-annotate query annotated "SELECT avg(margin), avg(kept_chosen), avg(kept_rejected) FROM rows"',
    'asr-annotate query annotated "SELECT side, text, reward FROM segments ORDER BY reward LIMIT 10"',
    'asr-annotate query annotated "SELECT code, count(*) AS n FROM rejects GROUP BY code" --csv > codes.csv',
)


def query(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
    sql: Annotated[
        str,
        typer.Argument(
            metavar="SQL",
            help="One SELECT over rows, tokens, segments, scores and rejects; see docs/query.md for their columns.",
            show_default=False,
        ),
    ],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.", rich_help_panel=opt.OUTPUT)] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a row a line.", rich_help_panel=opt.OUTPUT)] = False,
    parquet: Annotated[
        Path | None,
        typer.Option(
            "--parquet", metavar="FILE", help="Write a Parquet file.", rich_help_panel=opt.OUTPUT, show_default=False
        ),
    ] = None,
    ipc: Annotated[
        Path | None,
        typer.Option(
            "--ipc",
            metavar="FILE",
            help="Write an Arrow file, as polars and pyarrow map it.",
            rich_help_panel=opt.OUTPUT,
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the FILE that is there.", rich_help_panel=opt.OUTPUT)
    ] = False,
) -> None:
    """Ask an annotated directory in SQL; nothing but its own tables can be read."""
    from asr_data import tables
    from asr_data.storage import open_output
    from asr_data.tables import results

    if sum([csv, json, parquet is not None, ipc is not None]) > 1:
        raise ConfigError("--csv, --json, --parquet and --ipc are forms of one output: give one of them")
    tables.check_reads_views(sql)
    annotated = open_output(directory, verify=False)
    tables.check_asked(annotated, sql)
    found = tables.query(annotated, sql)
    if parquet is not None:
        results.write_file(found, parquet, "parquet", overwrite=overwrite)
    elif ipc is not None:
        results.write_file(found, ipc, "ipc", overwrite=overwrite)
    elif csv or json:
        for part in results.csv_text(found) if csv else results.json_lines(found):
            sys.stdout.write(part)
    else:
        _print_table(found.collect_schema(), results.batches(found))


def _print_table(schema: pl.Schema, batches: Iterator[pl.DataFrame]) -> None:
    """The first rows as a table, and how many there are."""
    table, total = Table(box=None, pad_edge=False, header_style="bold"), 0
    for name, kind in schema.items():
        table.add_column(Text(visible(name)), justify="right" if kind.is_numeric() else "left", overflow="fold")
    for batch in batches:
        for row in batch.head(max(0, SHOWN_ROWS - total)).iter_rows():
            table.add_row(*map(_cell, row))
        total += batch.height
    standard_output().print(table)
    if total > SHOWN_ROWS:
        note = f"{SHOWN_ROWS} of {total:,} rows are shown; --csv, --json, --parquet FILE and --ipc FILE give all"
        standard_error().print(Text(note, style="dim"), soft_wrap=True)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    return Text(visible(str(value)))
