"""Which rows are shown, and in which order: worked out by polars over the files, without loading them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from asr_data.conditions import condition, explained
from asr_data.errors import ConfigError, RowRejected
from asr_data.rows import normalise, records_of
from asr_data.types import Int64
from asr_data.view.gold import FAULTY_BELOW
from asr_data.view.server.directories import Viewed

if TYPE_CHECKING:
    import polars as pl

_KEPT: Final = 8
"""Orders that stay in memory: eight bytes a row."""
_POSITION: Final = "asr_position"


class Filter(BaseModel):
    """Which rows are meant, and in which order. Everything that is given must hold.

    Attributes:
        text: occurs in the prompt or a response, whatever the case.
        note: a code in ``asr_notes``; ``-`` for none at all.
        side: of ``kept_from`` and ``kept_to``, per cent of tokens.
        gap_from, gap_to: chosen minus rejected reward.
        faulty: a label of the input marks a fault.
        where: SQL, as after ``WHERE``.
        sort: a column of :meth:`RowTable.orders`; empty for the order of the input.
        descending: the largest first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, Field(max_length=1_000)] = ""
    note: Annotated[str, Field(max_length=200)] = ""
    side: Literal["", "chosen", "rejected", "completion"] = ""
    kept_from: float | None = None
    kept_to: float | None = None
    gap_from: float | None = None
    gap_to: float | None = None
    faulty: bool = False
    where: Annotated[str, Field(max_length=10_000)] = ""
    sort: Annotated[str, Field(max_length=200)] = ""
    descending: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it means every row, in the order of the input."""
        return self == Filter(side=self.side, descending=self.descending) and not self.descending


class RowTable:
    """The rows of the first directory as a table, with what others say of the same rows.

    Args:
        viewed: the directories.
    """

    def __init__(self, viewed: Sequence[Viewed]) -> None:
        self._viewed = viewed
        self._known: OrderedDict[Filter, Int64] = OrderedDict()
        self._lock = threading.Lock()

    def orders(self) -> dict[str, str]:
        """What rows can be sorted by, and what the page calls it."""
        sides = self._viewed[0].annotated.manifest.sides
        found = {"margin": "reward gap"} if len(sides) == 2 else {}
        found |= {f"kept_{side}": f"kept share of {side}" for side in sides}
        found |= {f"segments_{side}": f"segments of {side}" for side in sides}
        found |= {f"tokens_{side}": f"tokens of {side}" for side in sides}
        if len(self._viewed) > 1 and len(sides) == 2:
            found["apart"] = "how far reward gaps are apart"
        return {**found, "random": "chance"}

    def notes(self) -> list[str]:
        """The codes that rows have."""
        return sorted(self._viewed[0].annotated.manifest.counts.notes)

    def positions(self, wanted: Filter) -> Int64 | range:
        """Positions of the rows that are meant, in order.

        Raises:
            ConfigError: the condition cannot be understood, or there is no such order.
        """
        if wanted.is_plain:
            return range(self._viewed[0].rows)
        with self._lock:
            if wanted not in self._known:
                self._known[wanted] = self._found(wanted)
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
            self._known.move_to_end(wanted)
            return self._known[wanted]

    def _found(self, wanted: Filter) -> Int64:
        import polars as pl

        from asr_data.tables import frame

        if wanted.sort not in ("", *self.orders()):
            raise ConfigError(f"rows cannot be sorted by {wanted.sort!r}: {', '.join(self.orders())}")
        rows = frame(self._viewed[0].annotated)
        named = rows.collect_schema()
        rows = rows.with_row_index(_POSITION)
        conditions = list(self._conditions(wanted, named))
        with explained("the filter"):
            rows = rows.filter(*conditions) if conditions else rows
            key = self._key(wanted.sort)
            found = rows.select(_POSITION, **({} if key is None else {"key": key})).collect(engine="streaming")
            if key is not None:
                # Rows of which it is not known come last; equals stay in the order of the input.
                found = found.sort("key", descending=wanted.descending, nulls_last=True, maintain_order=True)
            elif wanted.descending:
                found = found.reverse()
        positions = found[_POSITION].cast(pl.Int64).to_numpy()
        return positions[np.isin(positions, self._faulty)] if wanted.faulty else positions

    def _key(self, sort: str) -> pl.Expr | None:
        import polars as pl

        if sort == "":
            return None
        if sort == "random":
            return pl.col(_POSITION).hash(seed=0)
        if sort == "apart":
            return pl.lit(self._apart).gather(pl.col(_POSITION))
        return pl.col(self._column(sort))

    def _column(self, name: str) -> str:
        """A computed column, under the name that it has where the input uses its own."""
        from asr_data.tables import frame

        names = frame(self._viewed[0].annotated).collect_schema().names()
        return f"asr_{name}" if f"asr_{name}" in names else name

    def _conditions(self, wanted: Filter, named: Any) -> Iterator[pl.Expr]:
        import polars as pl

        manifest = self._viewed[0].annotated.manifest
        if wanted.text:
            columns = {path.partition(".")[0] for path in manifest.plan.layout.columns.values()}
            kinds = {name: kind for name, kind in named.items() if name in (columns or manifest.input.column_types)}
            needle = wanted.text.lower()
            yield pl.any_horizontal(
                [_contains(pl.col(name), kind, needle) for name, kind in kinds.items()] or [pl.lit(value=False)]
            )
        notes = pl.col(f"{manifest.prefix}asr_notes")
        if wanted.note == "-":
            yield notes.list.len() == 0
        elif wanted.note:
            yield notes.list.contains(wanted.note)
        for name, low, high, scale in (
            (f"kept_{wanted.side or manifest.sides[0]}", wanted.kept_from, wanted.kept_to, 100.0),
            ("margin", wanted.gap_from, wanted.gap_to, 1.0),
        ):
            if low is None and high is None:
                continue
            if name.partition("_")[2] not in ("", *manifest.sides) or (name == "margin" and len(manifest.sides) < 2):
                raise ConfigError(f"there is no {name}: the responses are {', '.join(manifest.sides)}")
            column = pl.col(self._column(name)) * scale
            yield (
                column.is_not_null()
                & (column >= (-np.inf if low is None else low))
                & (column <= (np.inf if high is None else high))
            )
        if wanted.where.strip():
            yield condition(wanted.where, named)

    @cached_property
    def _apart(self) -> Any:
        """Largest less smallest reward gap that the directories give a row, a polars series; null with one alone."""
        import polars as pl

        from asr_data.tables import frame

        first = self._viewed[0]
        gaps = np.full((len(self._viewed), first.rows), np.nan)
        for place, one in enumerate(self._viewed):
            found = (
                frame(one.annotated).select(margin=pl.col("margin")).collect(engine="streaming")["margin"].to_numpy()
            )
            at, there = one.find(first.keys)
            gaps[place, there] = found[at[there]]
        known = (~np.isnan(gaps)).sum(axis=0) > 1
        apart = np.full(first.rows, np.nan)
        apart[known] = np.nanmax(gaps[:, known], axis=0) - np.nanmin(gaps[:, known], axis=0)
        return pl.Series(apart, nan_to_null=True)

    @cached_property
    def _faulty(self) -> Int64:
        """Positions of rows that the labels of the input find a fault in; every row is read once."""
        one = self._viewed[0]
        reader, manifest = one.gold, one.annotated.manifest
        found, place = [], 0
        if reader is None:
            return np.zeros(0, dtype=np.int64)
        for batch in one.annotated.data_batches():
            for record in records_of(batch):
                try:
                    index, pair = record[f"{manifest.prefix}asr_row"], record.get(f"{manifest.prefix}asr_pair")
                    labels = reader(normalise(index, record, manifest.plan.layout, pair))
                except RowRejected:
                    labels = {}
                if any(label.reward < FAULTY_BELOW for own in labels.values() for label in own):
                    found.append(place)
                place += 1
        return np.array(found, dtype=np.int64)


def _contains(expression: pl.Expr, kind: Any, needle: str) -> pl.Expr:
    """Whether a text occurs in a value of any depth."""
    import polars as pl

    if kind == pl.String:
        return expression.str.to_lowercase().str.contains(needle, literal=True).fill_null(value=False)
    if isinstance(kind, pl.List):
        return expression.list.eval(_contains(pl.element(), kind.inner, needle)).list.any().fill_null(value=False)
    if isinstance(kind, pl.Struct):
        fields = [_contains(expression.struct.field(one.name), one.dtype, needle) for one in kind.fields]
        return pl.any_horizontal(fields) if fields else pl.lit(value=False)
    return pl.lit(value=False)
