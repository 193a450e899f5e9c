"""Rows in memory as an Arrow table: frames of polars and pandas, lists of dictionaries."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from asr_data.errors import InputError
from asr_data.rows.schema import SchemaBuilder, to_arrow

_ACCEPTED = "a datasets.Dataset, a polars or pandas DataFrame, or a list of dictionaries"


def table_of(data: Any) -> tuple[pa.Table, str]:
    """The rows as a table, and what they were, for people.

    Raises:
        InputError: they are of no kind that is accepted, or a column holds values of several types.
    """
    if isinstance(data, list):
        return _of_records(data), "list of dictionaries"
    if is_frame(data, "polars"):
        return data.to_arrow(), "polars frame"
    if is_frame(data, "pandas"):
        try:
            return pa.Table.from_pandas(data, preserve_index=False).replace_schema_metadata(None), "pandas frame"
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InputError(f"pandas frame: a column has no Arrow type: {error}") from error
    kind = type(data).__name__
    hint = {"DatasetDict": "; of a DatasetDict, give one split", "LazyFrame": "; collect() a LazyFrame first"}
    raise InputError(f"expected {_ACCEPTED}, got {kind}{hint.get(kind, '')}")


def is_frame(data: Any, package: str) -> bool:
    """Whether the data is a ``DataFrame`` of ``polars`` or ``pandas``, which is not imported for that."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, module.DataFrame)


def _of_records(records: list[Any]) -> pa.Table:
    """Types are those of all rows together, as in a JSON file."""
    if not records:
        raise InputError("list of dictionaries: there are no rows")
    for index, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InputError(f"list of dictionaries: row {index} is {type(record).__name__}, not a dictionary")
    builder = SchemaBuilder("list of dictionaries")
    builder.add(list(enumerate(records)))
    return to_arrow(records, builder.finish())
