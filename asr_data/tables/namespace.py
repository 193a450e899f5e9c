"""``.asr`` on polars' lazy frames of annotated rows. Importing this imports polars and registers it."""

from __future__ import annotations

import polars as pl

from asr_data.tables.columns import AnnotatedColumns, summary_expressions
from asr_data.tables.flat import segment_frame, token_frame
from asr_data.types import Side


@pl.api.register_lazyframe_namespace("asr")
class AnnotatedFrame:
    """Views of annotated rows: of :func:`asr_data.frame`, filtered or not, or of any scan of ``data/*.parquet``.

    Example:
        asr_data.frame("annotated").filter(topic="code").asr.segments("rejected").sort("reward").head(5).collect()
    """

    def __init__(self, frame: pl.LazyFrame) -> None:
        self._frame = frame
        self._columns = AnnotatedColumns.of(frame.collect_schema().names())

    def tokens(self, side: Side) -> pl.LazyFrame:
        """One row a policy token of a side's responses.

        Columns: ``asr_row`` (``asr_pair``), ``side``, ``position`` of the token in its response, ``segment`` that it is
        in, ``token`` id, its ``text`` from code point ``start`` to ``end`` of the response text (where the policy's
        tokenizer is known), ``reward``, ``keep`` (trained on) and ``weight``, null where masks have no weights.

        Raises:
            ConfigError: the rows have no such side, or no segments yet.
        """
        self._columns.require(side)
        return token_frame(self._frame, self._columns, side)

    def segments(self, side: Side) -> pl.LazyFrame:
        """One row a segment of a side's responses.

        Columns: ``asr_row`` (``asr_pair``), ``side``, ``position`` of the segment in its response, ``first_token`` and
        number of ``tokens``, its ``text`` from code point ``start`` to ``end`` of the response text, ``reward`` and
        ``keep``.

        Raises:
            ConfigError: the rows have no such side, or no segments yet.
        """
        self._columns.require(side)
        return segment_frame(self._frame, self._columns, side)

    def summary(self) -> pl.LazyFrame:
        """One row a pair: what it holds in numbers.

        Columns: ``asr_row`` (``asr_pair``), for each side S its ``S_reward``, ``kept_S`` (share of its tokens that is
        trained on), ``tokens_S`` and ``segments_S``; of pairs ``margin``, reward of chosen less that of rejected; and
        ``asr_notes``.

        Raises:
            ConfigError: there are no segments yet.
        """
        columns = self._columns
        columns.require(next(iter(columns.sides), ""))
        kept = [*columns.keys, *(columns.added(f"{side}_reward") for side in columns.sides)]
        return self._frame.select(*kept, columns.added("asr_notes"), **summary_expressions(columns))
