"""One row a token, or one row a segment, of the responses of annotated rows.

A plain ``explode`` computes every list that it is given, whatever is asked of it later. Here the query's columns and
its condition are known first, so that only the lists behind them are read, and the condition goes down to the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asr_data.tables.columns import AnnotatedColumns
from asr_data.tables.cutting import pieces, segment_of_token
from asr_data.types import Side

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a flat view: its type there, and the list or the one value of a row that it comes from."""

    kind: Any
    expression: Callable[[], pl.Expr]
    repeated: bool = False


def token_frame(frame: pl.LazyFrame, columns: AnnotatedColumns, side: Side) -> pl.LazyFrame:
    """One row a token of a response.

    Args:
        frame: annotated rows.
        columns: the frame's.
        side: which response; one that has segments.
    """
    return _flat(frame, _token_columns(columns, side))


def segment_frame(frame: pl.LazyFrame, columns: AnnotatedColumns, side: Side) -> pl.LazyFrame:
    """One row a segment of a response; see :func:`token_frame`."""
    return _flat(frame, _segment_columns(columns, side))


def _flat(frame: pl.LazyFrame, known: dict[str, _Column]) -> pl.LazyFrame:
    from polars.io.plugins import register_io_source

    def batches(
        wanted: list[str] | None, predicate: pl.Expr | None, most: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        asked = list(known) if wanted is None else wanted
        named = {*asked, *([] if predicate is None else predicate.meta.root_names())}
        chosen = {name: known[name].expression() for name in known if name in named}
        lists = [name for name in chosen if not known[name].repeated]
        if not lists:  # a list that every row has says how many rows it becomes; this one is the cheapest to read
            chosen["keep"], lists = known["keep"].expression(), ["keep"]
        found = frame.select(**chosen).explode(lists).cast({name: known[name].kind for name in chosen})
        found = found if predicate is None else found.filter(predicate)
        found = found.select(asked)
        found = found if most is None else found.head(most)
        yield from found.collect_batches(chunk_size=size, maintain_order=True, engine="streaming")

    return register_io_source(batches, schema={name: one.kind for name, one in known.items()}, is_pure=True)


def _keys(columns: AnnotatedColumns, side: Side) -> dict[str, _Column]:
    import polars as pl

    found = {"asr_row": _Column(pl.Int64(), lambda: pl.col(columns.added("asr_row")), repeated=True)}
    if columns.paired:
        found["asr_pair"] = _Column(pl.Int32(), lambda: pl.col(columns.added("asr_pair")), repeated=True)
    found["side"] = _Column(pl.String(), lambda: pl.lit(side), repeated=True)
    return found


def _token_columns(columns: AnnotatedColumns, side: Side) -> dict[str, _Column]:
    import polars as pl

    def added(name: str) -> pl.Expr:
        return pl.col(columns.added(f"{side}_{name}"))

    found = _keys(columns, side)
    found["position"] = _Column(pl.Int32(), lambda: _numbers(added("mask").list.len()))
    found["segment"] = _Column(
        pl.Int32(), lambda: _segment_of_token(added("seg_start"), added("mask").list.len().cast(pl.Int32))
    )
    found["token"] = _Column(pl.Int32(), lambda: added("ids"))
    start = columns.computed(f"{side}_token_start")
    if start in columns.names:
        found |= _texts(lambda: pl.col(start), lambda: pl.col(columns.computed(f"{side}_text")))
    found["reward"] = _Column(pl.Float32(), lambda: added("token_reward"))
    found["keep"] = _Column(pl.Boolean(), lambda: added("mask"))
    if columns.added(f"{side}_weight") in columns.names:
        found["weight"] = _Column(pl.Float32(), lambda: added("weight"))
    else:  # the same columns whatever the masks were made with, so that one query fits all directories
        found["weight"] = _Column(pl.Float32(), lambda: pl.lit(None, pl.Float32()), repeated=True)
    return found


def _segment_columns(columns: AnnotatedColumns, side: Side) -> dict[str, _Column]:
    import polars as pl

    def added(name: str) -> pl.Expr:
        return pl.col(columns.added(f"{side}_{name}"))

    def lengths() -> pl.Expr:
        starts = added("seg_start")
        ends = pl.concat_list(starts.list.slice(1), added("mask").list.len().cast(pl.Int32))
        return ends - starts

    found = _keys(columns, side)
    found["position"] = _Column(pl.Int32(), lambda: _numbers(added("seg_start").list.len()))
    found["first_token"] = _Column(pl.Int32(), lambda: added("seg_start"))
    found["tokens"] = _Column(pl.Int32(), lengths)
    text = columns.computed(f"{side}_text")
    if text in columns.names:
        found |= _texts(lambda: added("seg_text_start"), lambda: pl.col(text))
    found["reward"] = _Column(pl.Float32(), lambda: added("seg_reward"))
    found["keep"] = _Column(pl.Boolean(), lambda: added("seg_keep"))
    return found


def _texts(starts: Callable[[], pl.Expr], text: Callable[[], pl.Expr]) -> dict[str, _Column]:
    """``text``, ``start`` and ``end``: pieces of a text, and the code points where they lie."""
    import polars as pl

    def ends() -> pl.Expr:
        return pl.concat_list(starts().list.slice(1), text().str.len_chars().cast(pl.Int32))

    return {
        "text": _Column(pl.String(), lambda: _pieces(starts(), text())),
        "start": _Column(pl.Int32(), starts),
        "end": _Column(pl.Int32(), ends),
    }


def _numbers(count: pl.Expr) -> pl.Expr:
    import polars as pl

    return pl.int_ranges(0, count, dtype=pl.Int32)


def _pieces(starts: pl.Expr, text: pl.Expr) -> pl.Expr:
    """The text cut at ``starts``. Polars' own expressions would copy the whole text for each piece."""
    import polars as pl

    def cut(rows: pl.Series) -> pl.Series:
        fields = rows.struct.unnest().to_arrow().combine_chunks()
        return pl.Series(
            pl.from_arrow(pieces(fields.column("starts"), fields.column("text"))), dtype=pl.List(pl.String)
        )

    both = pl.struct(starts=starts.cast(pl.List(pl.Int32)), text=text)
    return both.map_batches(cut, return_dtype=pl.List(pl.String()), is_elementwise=True)


def _segment_of_token(starts: pl.Expr, tokens: pl.Expr) -> pl.Expr:
    """The segment that each token is in."""
    import polars as pl

    def numbered(rows: pl.Series) -> pl.Series:
        fields = rows.struct.unnest().to_arrow().combine_chunks()
        found = segment_of_token(fields.column("starts"), fields.column("tokens"))
        return pl.Series(pl.from_arrow(found), dtype=pl.List(pl.Int32))

    both = pl.struct(starts=starts.cast(pl.List(pl.Int32)), tokens=tokens)
    return both.map_batches(numbered, return_dtype=pl.List(pl.Int32()), is_elementwise=True)
