"""SQL over an output directory: polars' dialect, and of all tables only the directory's own."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from asr_data.conditions import condition, explained
from asr_data.errors import ConfigError
from asr_data.storage import AnnotatedDirectory, open_output
from asr_data.tables.frames import check_files, frame, scan

if TYPE_CHECKING:
    import polars as pl

VIEWS: Final = ("rows", "tokens", "segments", "scores", "rejects")
"""``rows``: what :func:`asr_data.frame` gives. ``tokens`` and ``segments``: those of all sides. ``scores`` and
``rejects``: as in the files."""

_READING: Final = re.compile(r"^\s*(?:\(\s*)*(?:select|with|from|values|show|explain)\b", re.IGNORECASE)
_FILES: Final = re.compile(r"\b(?:read|scan)_\w+", re.IGNORECASE)
_TEXT: Final = re.compile(r"'(?:[^']|'')*'")
_NO_TABLE: Final = re.compile(r"relation ('.*') was not found")
_OTHER_QUOTES: Final = ('"', "`", "$", "\\", "--", "/*")
"""With these in a query, where its texts begin and end is left to polars alone."""


def views(source: str | os.PathLike[str] | AnnotatedDirectory) -> dict[str, pl.LazyFrame]:
    """The tables that a query can name: those of :data:`VIEWS` that the directory has.

    Raises:
        CorruptFileError: no finished output directory, or a file of it is missing or has another size.
    """
    import polars as pl

    annotated = source if isinstance(source, AnnotatedDirectory) else open_output(Path(source), verify=False)
    rows: Any = frame(annotated, tokenizer="recorded")
    found: dict[str, pl.LazyFrame] = {"rows": frame(annotated)}
    if annotated.manifest.stage == "masked":
        sides = annotated.manifest.sides
        found["tokens"] = pl.concat([rows.asr.tokens(side) for side in sides])
        found["segments"] = pl.concat([rows.asr.segments(side) for side in sides])
    return found | {"scores": scan(annotated, "scores"), "rejects": scan(annotated, "rejects")}


def query(source: str | os.PathLike[str] | AnnotatedDirectory, sql: str) -> pl.LazyFrame:
    """What a query gives, not computed yet; ``collect(engine="streaming")`` does that without holding all rows.

    Args:
        source: a finished output directory.
        sql: one ``SELECT`` over :data:`VIEWS`.

    Raises:
        ConfigError: it does not parse, is no ``SELECT``, names a table or column that is not there, or reads files.
        CorruptFileError: see :func:`views`.
    """
    import polars as pl
    from polars.exceptions import SQLInterfaceError

    check_reads_views(sql)
    tables = views(source)
    with explained("the query"):
        try:
            found = pl.SQLContext(tables, eager=False).execute(sql)
            found.collect_schema()  # names the tables and columns that are not there
        except SQLInterfaceError as error:
            if missing := _NO_TABLE.match(str(error)):
                raise ConfigError(f"the query: there is no {missing[1]}; there are {', '.join(tables)}") from error
            raise
    return found


def check_asked(annotated: AnnotatedDirectory, sql: str) -> None:
    """Compares the files that a query may read with their checksums; Parquet alone does not notice every flipped bit.

    Raises:
        CorruptFileError: a file is not what was written.
    """
    views_of: dict[Literal["data", "scores", "rejects"], str] = {
        "data": "rows|tokens|segments",
        "scores": "scores",
        "rejects": "rejects",
    }
    for config, names in views_of.items():
        if re.search(rf"\b(?:{names})\b", sql, re.IGNORECASE):
            check_files(annotated, config)


def matching(source: str | os.PathLike[str] | AnnotatedDirectory, where: str) -> pl.LazyFrame:
    """The rows, as :func:`asr_data.frame` gives them, that meet a condition such as ``margin > 0``.

    Raises:
        ConfigError: see :func:`asr_data.conditions.condition`.
        CorruptFileError: see :func:`views`.
    """
    rows = frame(source)
    return rows.filter(condition(where, rows.collect_schema()))


def check_reads_views(sql: str) -> None:
    """Refuses anything but reading, and functions that read files.

    Raises:
        ConfigError: says what is refused.
    """
    if not _READING.match(_without_comments_before(sql)):
        raise ConfigError("the query must be one SELECT: nothing here can be changed")
    named = _FILES.search(sql)
    if named is None:
        return
    plain = not any(quote in sql for quote in _OTHER_QUOTES)
    rest = _TEXT.sub("''", sql) if plain else sql
    if (found := _FILES.search(rest)) and (not plain or rest[found.end() :].lstrip().startswith("(")):
        raise ConfigError(
            f"{found.group()} is not allowed: a query reads {', '.join(VIEWS)}, and no other file"
            + ("" if plain else " (a name that only looks like it must not stand in a query with comments or quotes)")
        )


def _without_comments_before(sql: str) -> str:
    return re.sub(r"^(?:\s|--[^\n]*\n|/\*.*?\*/)+", "", sql, flags=re.DOTALL)
