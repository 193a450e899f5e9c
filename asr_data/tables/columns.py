"""Columns that follow from the annotated ones: one number a response or a pair, computed only where it is asked for.

A name that the input uses gets ``asr_`` in front. Which columns a frame has is read off its names, so that a frame that
was filtered or joined still knows its sides.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_data.errors import ConfigError
from asr_data.types import Side
from asr_data_schemas import SIDES

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class AnnotatedColumns:
    """The added columns of a frame.

    Attributes:
        names: all columns of the frame.
        prefix: of the added columns.
        sides: the responses that have segments; empty before masking.
        paired: whether rows are told apart by ``asr_pair``, too.
    """

    names: frozenset[str]
    prefix: str
    sides: tuple[Side, ...]
    paired: bool

    @classmethod
    def of(cls, names: Collection[str]) -> AnnotatedColumns:
        """Found by their names.

        Raises:
            ConfigError: there is no ``asr_row``.
        """
        found = frozenset(names)
        prefixes = [name.removesuffix("asr_row") for name in names if name.endswith("asr_row")]
        if not prefixes:
            raise ConfigError(
                f"these are not annotated rows, as there is no column asr_row: {', '.join(names) or 'no columns'}"
            )
        prefix = max(prefixes, key=lambda one: sum(name.startswith(f"{one}asr_") for name in names))
        sides = tuple(side for side in SIDES if f"{prefix}{side}_seg_start" in found)
        return cls(found, prefix, sides, f"{prefix}asr_pair" in found)

    def added(self, name: str) -> str:
        """An added column's name in the frame."""
        return f"{self.prefix}{name}"

    @property
    def keys(self) -> list[str]:
        """The columns that say which row it is."""
        return [self.added("asr_row"), *([self.added("asr_pair")] if self.paired else [])]

    def computed(self, name: str) -> str:
        """The name of a column of this module in the frame, where it is one of its columns already."""
        return f"asr_{name}" if f"asr_{name}" in self.names else name

    def require(self, side: str) -> None:
        """Refuses a side that has no segments.

        Raises:
            ConfigError: says which have.
        """
        if not self.sides:
            raise ConfigError("there are no segments yet: asr-annotate mask DIR -o OUT makes them")
        if side not in self.sides:
            raise ConfigError(f"side is {side!r}; it must be one of {', '.join(self.sides)}")


def with_computed(frame: pl.LazyFrame, columns: AnnotatedColumns, more: dict[str, pl.Expr]) -> pl.LazyFrame:
    """The frame with the summary's columns, and ``more``, under names that it does not use.

    Raises:
        ConfigError: it uses the name with ``asr_`` in front, too.
    """
    expressions = {**summary_expressions(columns), **more}
    taken = [f"asr_{name}" for name in expressions if f"asr_{name}" in columns.names]
    if taken:
        raise ConfigError(f"the column {taken[0]!r} of the input has a name that is needed here: rename it")
    return frame.with_columns(
        **{(f"asr_{name}" if name in columns.names else name): one for name, one in expressions.items()}
    )


def summary_expressions(columns: AnnotatedColumns) -> dict[str, pl.Expr]:
    """Name → expression over the added columns.

    ``margin``: reward of chosen less that of rejected. For each side S: ``kept_S``, the share of its tokens that is
    trained on; ``tokens_S`` and ``segments_S``, their numbers. Null where a reward is unknown.
    """
    import polars as pl

    found: dict[str, pl.Expr] = {}
    if {"chosen", "rejected"} <= set(columns.sides):
        chosen, rejected = (pl.col(columns.added(f"{side}_reward")).cast(pl.Float64) for side in ("chosen", "rejected"))
        found["margin"] = chosen - rejected
    for side in columns.sides:
        mask = pl.col(columns.added(f"{side}_mask"))
        found[f"kept_{side}"] = mask.list.mean()
        # Signed: a difference of two lengths can be negative.
        found[f"tokens_{side}"] = mask.list.len().cast(pl.Int64)
        found[f"segments_{side}"] = pl.col(columns.added(f"{side}_seg_start")).list.len().cast(pl.Int64)
    return found
