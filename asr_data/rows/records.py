"""One row of an Arrow table as a mapping. A cell becomes a Python object only when it is asked for.

Arrow holds values that Python does not: dates after the year 9999, nanoseconds, unknown time zones. A column that plays
no role in a layout is carried along as Arrow, and its values stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from asr_data.errors import RowRejected
from asr_data.rows.features import class_names


class ArrowRecord(Mapping[str, Any]):
    """One row of a batch; class labels are read as their names.

    Args:
        batch: the columns.
        row: which row of it.
    """

    __slots__ = ("_cells", "batch", "row")

    def __init__(self, batch: pa.RecordBatch, row: int) -> None:
        self.batch, self.row = batch, row
        self._cells: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._cells:
            index = self.batch.schema.get_field_index(name)
            if index < 0:
                raise KeyError(name)
            self._cells[name] = self._named(name, self._cell(index, name))
        return self._cells[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return self.batch.num_columns

    def __repr__(self) -> str:
        return f"ArrowRecord({', '.join(self)})"

    def _cell(self, index: int, name: str) -> Any:
        try:
            return self.batch.column(index)[self.row].as_py()
        except UnicodeDecodeError as error:
            raise RowRejected("invalid_unicode", f"column {name!r} holds bytes that are not UTF-8: {error}") from error
        except (ValueError, OverflowError, TypeError, KeyError, ImportError) as error:
            kind = self.batch.schema.field(index).type
            raise RowRejected("wrong_type", f"column {name!r} ({kind}) holds a value that cannot be read") from error

    def _named(self, name: str, value: Any) -> Any:
        names = class_names(self.batch.schema, name)
        if names is None or value is None:
            return value
        if not 0 <= value < len(names):
            raise RowRejected("wrong_type", f"column {name!r} is class {value}, and has the classes {', '.join(names)}")
        return names[value]


def readable(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records as dictionaries, with null for a value that cannot be read."""

    def cell(record: Mapping[str, Any], name: str) -> Any:
        try:
            return record[name]
        except RowRejected:
            return None

    return [{name: cell(record, name) for name in record} for record in records]


def records_of(batch: pa.RecordBatch) -> list[ArrowRecord]:
    """The rows of a batch."""
    return [ArrowRecord(batch, row) for row in range(batch.num_rows)]
