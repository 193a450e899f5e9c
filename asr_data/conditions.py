"""Conditions on rows as people type them: SQL's, as in ``margin > 0 AND topic = 'code'``, made into polars expressions.

Importing this does not import polars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asr_data.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl


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

    place = f"{option} {text!r}"
    with explained(place):
        expression = pl.sql_expr(text)
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


def _first_line(error: BaseException) -> str:
    """What is wrong, without polars' picture of the query's plan and its hints for Python."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return "it holds a query of its own, which a condition cannot" if ".subplan" in line else line
