"""Rows that meet a condition, before anything is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from asr_data.conditions import condition, explained
from asr_data.rows.schema import to_arrow
from asr_data.rows.text_readers import RawRow
from asr_data.types import RejectedRow

if TYPE_CHECKING:
    import polars as pl

_CODE = "left_out"


@dataclass
class Selection:
    """Decides row by row.

    Args:
        where: the condition, in SQL.
        schema: of the input.

    Raises:
        ConfigError: see :func:`asr_data.conditions.condition`.
    """

    where: str
    schema: pa.Schema
    _meets: Any = field(init=False)
    _columns: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        types = _frame(self.schema.empty_table()).schema
        self._meets = condition(self.where, types, row_by_row=True)
        named = set(self._meets.meta.root_names())
        self._columns = pa.schema([column for column in self.schema if column.name in named])

    def of(self, rows: Sequence[RawRow]) -> list[RawRow]:
        """The rows, those that do not meet the condition as rejected ones.

        Raises:
            ConfigError: the condition cannot be decided for a value, such as a number of a text.
        """
        read = [row for row in rows if not isinstance(row, RejectedRow)]
        met = iter(self._met([record for _, record in read]))
        return [row if isinstance(row, RejectedRow) or next(met) else self._left_out(row[0]) for row in rows]

    def _met(self, records: Sequence[Any]) -> Sequence[bool]:
        if not records:
            return []
        columns = to_arrow(records, self._columns) if len(self._columns) else pa.table({"row": range(len(records))})
        with explained(f"--where {self.where!r}"):
            found: list[bool] = _frame(columns).with_columns(met=self._meets)["met"].to_list()
        return found

    def _left_out(self, index: int) -> RejectedRow:
        return RejectedRow(index, _CODE, f"does not meet --where {self.where}")


def kept(rows: Sequence[RawRow]) -> bool:
    """Whether a row is there that was not left out."""
    return any(not (isinstance(row, RejectedRow) and row.code == _CODE) for row in rows)


def _frame(table: pa.Table) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(pl.from_arrow(table))
