"""Reading rows: any ``INPUT`` as rows of one shape, each input row once and in order, or the reason why not.

A row with several answers can become several pairs, see :mod:`asr_data.pairs`.
"""

from __future__ import annotations

from collections.abc import Iterator

from asr_data.rows.file_formats import ALLOWED_SUFFIXES
from asr_data.rows.layouts import Layout, detect
from asr_data.rows.normalise import normalise, normalise_all, stored_pair
from asr_data.rows.records import ArrowRecord, readable, records_of
from asr_data.rows.schema import to_arrow
from asr_data.rows.source import Source, first_records, open_source
from asr_data.rows.text_readers import RawRow
from asr_data.types import RejectedRow, Row

__all__ = [
    "ALLOWED_SUFFIXES",
    "Source",
    "open_source",
    "first_records",
    "Layout",
    "detect",
    "normalise",
    "normalise_all",
    "stored_pair",
    "read_rows",
    "to_arrow",
    "ArrowRecord",
    "records_of",
    "readable",
]


def read_rows(
    source: Source, layout: Layout, size: int, start: int = 0, stop: int | None = None
) -> Iterator[list[Row | RejectedRow]]:
    """The input rows ``[start, stop)``, each exactly once and in order, in lists of those of up to ``size`` rows.

    Where the layout makes several pairs of a row, each pair is an entry, in the order of its numbers.

    Raises:
        InputError: the input became unreadable.
    """
    for batch in source.batches(size, start, stop):
        yield [row for raw in batch for row in _rows(raw, layout)]


def _rows(raw: RawRow, layout: Layout) -> list[Row | RejectedRow]:
    return [raw] if isinstance(raw, RejectedRow) else normalise_all(*raw, layout)
