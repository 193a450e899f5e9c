"""Which row an entry of ``data/``, ``scores/``, ``logprobs/`` or ``rejects/`` is: ``asr_row``, and ``asr_pair`` if any.

A key is both in one number. Keys rise from entry to entry, and of two directories the same pair of the same row has the
same key.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from asr_data.types import Int64

_ONE_ROW: Final = 2**21
"""Keys of one row. Of as many answers as pairs are made of (:mod:`asr_data.pairs`) all numbers are far below."""


def row_keys(entries: pa.RecordBatch | pa.Table, prefix: str = "") -> Int64:
    """Keys of the entries, int64 ``[entries]``.

    Args:
        entries: with the columns ``asr_row`` and, where an input row can be several, ``asr_pair``. Where that is null
            the entry is the whole row.
        prefix: of these columns.
    """
    rows: Int64 = np.asarray(entries.column(f"{prefix}asr_row").to_numpy(), dtype=np.int64)
    name = f"{prefix}asr_pair"
    if name not in entries.schema.names:
        return keys_of(rows, np.full(len(rows), -1, dtype=np.int64))
    pairs: Any = entries.column(name)
    return keys_of(rows, np.asarray(pairs.fill_null(-1).to_numpy(), dtype=np.int64))


def keys_of(row: Int64, pair: Int64) -> Int64:
    """Keys of rows and pairs, int64; a pair of -1 stands for the whole row."""
    return row * _ONE_ROW + pair + 1


def key_of(row: int, pair: int | None) -> int:
    """Key of one row, or of one pair of it."""
    return row * _ONE_ROW + (0 if pair is None else pair + 1)


def numbers_of(key: int) -> tuple[int, int | None]:
    """``asr_row`` and ``asr_pair`` of a key; None for the whole row."""
    row, pair = divmod(key, _ONE_ROW)
    return row, pair - 1 if pair else None


def rows_of(keys: Int64) -> Int64:
    """``asr_row`` of each key."""
    rows: Int64 = keys // _ONE_ROW
    return rows


def pairs_of(keys: Int64) -> Int64:
    """``asr_pair`` of each key; -1 for the whole row."""
    pairs: Int64 = keys % _ONE_ROW - 1
    return pairs


def row_numbers(entries: pa.RecordBatch, prefix: str = "") -> list[tuple[int, int | None]]:
    """``asr_row`` and ``asr_pair`` of each entry; None where there is no such column."""
    rows: list[Any] = entries.column(f"{prefix}asr_row").to_pylist()
    name = f"{prefix}asr_pair"
    pairs: list[Any] = entries.column(name).to_pylist() if name in entries.schema.names else [None] * len(rows)
    return list(zip(rows, pairs, strict=True))
