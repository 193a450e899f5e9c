"""Columns that are computed from an annotated row when they are asked for: response texts, and where tokens start.

Both need the input row as it was read. They are polars expressions over the columns that reading it needs, so a query
that does not name them reads none of these columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from asr_data.errors import ConfigError
from asr_data.response import RESPONSE_TEXT, code_points, recorded_text
from asr_data.rows import Layout, normalise, records_of
from asr_data.rows.arrow_types import conform_batch
from asr_data.rows.columns import is_text
from asr_data.text import Tokenizer, align
from asr_data.types import Row, Side

if TYPE_CHECKING:
    import polars as pl

_ONE_AT_A_TIME = Lock()
"""Polars computes from several threads; tokenizers, and Python's imports of their packages, are not made for that."""
_WHOLE_TEXT = ("preference", "unpaired", "prompt_completion")
"""Kinds of layouts whose responses are what their columns hold."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """How annotated rows are read as input rows.

    Attributes:
        layout: of the input.
        schema: Arrow schema of the rows, with the features of ``datasets``.
        recorded: what the plan says of response texts, see :data:`asr_data.response.RESPONSE_TEXT`.
        prefix: of the added columns.
    """

    layout: Layout
    schema: pa.Schema
    recorded: str | None = RESPONSE_TEXT
    prefix: str = ""

    @property
    def columns(self) -> list[str]:
        """The columns that reading a row needs."""
        named = [*self.layout.columns.values(), self.layout.tools_column, self.layout.template_kwargs_column]
        roots = {name if name in self.schema.names else name.split(".")[0] for name in named if name}
        wanted = set(self.schema.names) if self.layout.format is not None else {*roots, self._pair}
        return [name for name in self.schema.names if name in wanted]

    def rows(self, table: pa.Table) -> list[Row]:
        """The rows of a table that has :attr:`columns`."""
        schema = fields_of(self.schema, self.columns)
        batches = table.select(self.columns).combine_chunks().to_batches()
        return [
            normalise(0, record, self.layout, record.get(self._pair))
            for batch in batches
            for record in _records(batch, schema)
        ]

    @property
    def _pair(self) -> str:
        """The column that says which pair of the input row it is, where there is one."""
        return f"{self.prefix}asr_pair"


def fields_of(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """Some fields of a schema, with its metadata, in which the features of ``datasets`` are."""
    fields = pa.schema([schema.field(name) for name in names])
    metadata: Any = schema.metadata
    return fields if metadata is None else fields.with_metadata(metadata)


def text_expression(reader: RowReader, side: Side) -> pl.Expr:
    """The response text of a side, as rewards and segments count over it."""
    import polars as pl

    column = reader.layout.columns.get(side)
    as_it_is = reader.layout.kind in _WHOLE_TEXT and reader.layout.prompt_form in ("plain", "user")
    if (
        as_it_is
        and column in reader.schema.names
        and column not in reader.layout.json_columns
        and is_text(reader.schema.field(str(column)).type)
    ):
        return pl.col(str(column))

    def texts(rows: list[Row]) -> list[str]:
        return [recorded_text(_response(row, side).content, reader.recorded) for row in rows]

    return _computed(reader, texts, pl.String())


def token_start_expression(reader: RowReader, side: Side, tokenizer: Callable[[], Tokenizer]) -> pl.Expr:
    """Where each policy token of a side starts, as code-point offsets into the response text.

    Args:
        reader: how rows are read.
        side: which response.
        tokenizer: gives the tokenizer that made the ids, when it is first needed.
    """
    import polars as pl

    def starts(rows: list[Row]) -> list[list[int]]:
        policy = tokenizer()
        found = []
        for row in rows:
            aligned = align(row, policy)
            response = aligned.responses[row.completions.index(_response(row, side))]
            found.append(code_points(response.text, response.start).tolist())
        return found

    return _computed(reader, starts, pl.List(pl.Int32()))


def _computed(reader: RowReader, compute: Callable[[list[Row]], Sequence[Any]], kind: Any) -> pl.Expr:
    import polars as pl

    def values(rows: pl.Series) -> pl.Series:
        with _ONE_AT_A_TIME:
            return pl.Series(compute(reader.rows(rows.struct.unnest().to_arrow())), dtype=kind)

    return pl.struct(reader.columns).map_batches(values, return_dtype=kind, is_elementwise=True)


def _records(batch: pa.RecordBatch, schema: pa.Schema) -> list[Any]:
    try:
        return [*records_of(conform_batch(batch, schema))]
    except pa.ArrowException as error:
        raise ConfigError(
            f"the columns {', '.join(schema.names)} are not those that were annotated: {error}"
        ) from error


def _response(row: Row, side: Side) -> Any:
    return next(completion for completion in row.completions if completion.side == side)
