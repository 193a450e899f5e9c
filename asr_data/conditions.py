"""Conditions on rows as people type them: SQL's, as in ``margin > 0 AND topic = 'code'``, made into polars expressions.

Importing this does not import polars.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from asr_data.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

_NO_TABLE: Final = re.compile(r"relation '.*' was not found")


def condition(text: str, columns: Mapping[str, Any], *, row_by_row: bool = False, option: str = "--where") -> pl.Expr:
    """A condition as a boolean expression; a row for which it is null does not meet it, as in SQL.

    Args:
        text: SQL, as it stands after ``WHERE``.
        columns: name → polars type of the columns that it may name.
        row_by_row: refuse what needs more than one row, such as ``reward > avg(reward)``.
        option: where it comes from, for messages.

    Raises:
        ConfigError: it does not parse, names a column that is not there, is neither true nor false, or needs other
            rows or other tables.
    """
    import polars as pl
    from polars.exceptions import SQLInterfaceError

    place = f"{option} {text!r}"
    with explained(place):
        try:
            expression = pl.sql_expr(text)
        except SQLInterfaceError as error:
            if _NO_TABLE.match(str(error)):
                raise ConfigError(f"{place}: it holds a query of its own, which a condition cannot") from error
            raise
        unknown = [name for name in dict.fromkeys(expression.meta.root_names()) if name not in columns]
        if unknown:
            raise ConfigError(f"{place}: there is no column {unknown[0]!r}; there are {', '.join(columns)}")
        if row_by_row and not _is_row_by_row(expression):
            raise ConfigError(f"{place}: must be decided by each row alone, without averages, ranks or other rows")
        found = pl.DataFrame(schema=dict(columns)).select(value=expression)["value"].dtype
    if found != pl.Boolean:
        raise ConfigError(f"{place}: is {found}, not true or false")
    return expression.fill_null(value=False)


def _is_row_by_row(expression: pl.Expr) -> bool:
    """Whether no part of an expression looks at other rows. Polars answers for the outermost operation alone."""
    from polars.exceptions import PolarsError

    inputs = expression.meta.pop()
    if expression.meta.root_names() or not inputs:  # a list of constants, as in IN (1, 2), counts as one value
        try:
            if not (expression.meta.is_row_separable() or expression.meta.is_literal()):
                return False
        except PolarsError:
            pass  # of arithmetic, which it cannot answer without types; its inputs follow
    return all(map(_is_row_by_row, inputs))


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turns whatever polars says of a query into one line.

    Raises:
        ConfigError: instead of any error of polars; ``place`` comes first.
    """
    from polars.exceptions import PanicException, PolarsError

    try:
        yield
    except PolarsError as error:
        raise ConfigError(f"{place}: {_first_line(error)}") from error
    except PanicException as error:
        raise ConfigError(f"{place}: cannot be run: {_first_line(error)}") from error
    except ConfigError as error:  # polars adds where in the plan it was raised
        raise ConfigError(_first_line(error)) from error


_SAID: Final = (
    # A condition with a query in it: polars looks for its tables, or gives a plan in place of an expression.
    (re.compile(r".*\.subplan.*"), "it holds a query of its own, which a condition cannot"),
    (re.compile(r"unable to parse '.*' as Expr"), "is no condition in SQL"),
    # Values of rows, which can be long.
    (re.compile(r" for (\d+) out of \d+ values: \[.*"), r" for \1 values"),
)
"""What polars says, and what is said in its place."""


def _first_line(error: BaseException) -> str:
    """What is wrong, without polars' picture of the query's plan and its hints for Python."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    for pattern, instead in _SAID:
        said = pattern.sub(instead, said)
    return said
