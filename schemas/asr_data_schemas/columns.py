"""The Arrow schemas of the three configs. Declared here and nowhere else; never inferred.

Lists are plain ``list`` (32-bit offsets) whose values are named ``item``: the one form that ``datasets``
reads back as it was written and concatenates with its own. Fields are nullable for the same reason, but only
reward columns may hold nulls: inside their lists, and in ``S_reward``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

import pyarrow as pa

CONTRACT_VERSION: Final = 1

Side: TypeAlias = Literal["chosen", "rejected", "completion"]
SIDES: Final[tuple[Side, ...]] = get_args(Side)
"""Columns a response can come from: the first two of a pair, the last one alone."""

_SIDE_COLUMNS: Final[tuple[tuple[str, pa.DataType], ...]] = (
    ("ids", pa.list_(pa.int32())),
    ("mask", pa.list_(pa.bool_())),
    ("token_reward", pa.list_(pa.float32())),
    ("seg_start", pa.list_(pa.int32())),
    ("seg_text_start", pa.list_(pa.int32())),
    ("seg_reward", pa.list_(pa.float32())),
    ("seg_keep", pa.list_(pa.bool_())),
    ("reward", pa.float32()),
)
_REFERENCE_COLUMNS: Final[tuple[tuple[str, pa.DataType], ...]] = (("ref_logp", pa.list_(pa.float32())),)
_WEIGHT_COLUMNS: Final[tuple[tuple[str, pa.DataType], ...]] = (("weight", pa.list_(pa.float32())),)
_SCORE_COLUMNS: Final[tuple[tuple[str, pa.DataType], ...]] = (
    ("span_end", pa.list_(pa.int32())),
    ("span_reward", pa.list_(pa.float32())),
    ("step_end", pa.list_(pa.int32())),
    ("reward", pa.float32()),
)

_REJECT_FIELDS: Final[list[pa.Field[Any]]] = [pa.field("code", pa.string()), pa.field("message", pa.string())]


def _keys(pairs: bool) -> list[pa.Field[Any]]:
    return [pa.field("asr_row", pa.int64()), *([pa.field("asr_pair", pa.int32())] if pairs else [])]


def row_schema(prefix: str = "", *, pairs: bool = False) -> pa.Schema:
    """Columns that every row of ``data/`` gets, masked or only scored.

    Args:
        prefix: put before every column name.
        pairs: an input row can be several rows, which ``asr_pair`` tells apart.
    """
    fields: list[pa.Field[Any]] = [
        *([pa.field(f"{prefix}asr_pair", pa.int32())] if pairs else []),
        pa.field(f"{prefix}asr_notes", pa.list_(pa.string())),
        pa.field(f"{prefix}asr_row", pa.int64()),
        pa.field(f"{prefix}asr_run", pa.string()),
    ]
    return pa.schema(fields)


def data_schema(
    sides: Sequence[str], prefix: str = "", *, reference: bool = False, weights: bool = False, pairs: bool = False
) -> pa.Schema:
    """Columns that masking adds to the input columns, in contract order (config ``default``).

    Args:
        sides: ``("chosen", "rejected")`` or ``("completion",)``.
        prefix: put before every added column, where an input column has the same name.
        reference: with the reference model's log-probabilities.
        weights: with a weight for every token.
        pairs: see :func:`row_schema`.

    Raises:
        ValueError: a side that the contract does not know.
    """
    fields: list[pa.Field[Any]] = [pa.field(f"{prefix}prompt_ids", pa.list_(pa.int32()))]
    optional = (_REFERENCE_COLUMNS if reference else ()) + (_WEIGHT_COLUMNS if weights else ())
    fields += _per_side(sides, _SIDE_COLUMNS + optional, prefix)
    fields += list(row_schema(prefix, pairs=pairs))
    return pa.schema(fields)


def scores_schema(sides: Sequence[str], *, pairs: bool = False) -> pa.Schema:
    """Columns of the config ``scores``: rewards over bytes of the response text.

    Raises:
        ValueError: a side that the contract does not know.
    """
    return pa.schema([*_keys(pairs), *_per_side(sides, _SCORE_COLUMNS, "")])


def logprobs_schema(sides: Sequence[str], *, pairs: bool = False) -> pa.Schema:
    """Columns of the optional config ``logprobs``: the reference model's log-probabilities over policy tokens.

    Raises:
        ValueError: a side that the contract does not know.
    """
    return pa.schema([*_keys(pairs), *_per_side(sides, _REFERENCE_COLUMNS, "")])


def rejects_schema(*, pairs: bool = False) -> pa.Schema:
    """Columns of the config ``rejects``: which row, one of ``REJECT_CODES``, what is wrong with it."""
    return pa.schema([*_keys(pairs), *_REJECT_FIELDS])


REJECTS_SCHEMA: Final = rejects_schema()
"""Config ``rejects`` where every input row is one row."""


def _per_side(sides: Sequence[str], columns: Sequence[tuple[str, pa.DataType]], prefix: str) -> list[pa.Field[Any]]:
    for side in sides:
        if side not in SIDES:
            raise ValueError(f"side {side!r} is not one of {', '.join(SIDES)}")
    return [pa.field(f"{prefix}{side}_{name}", kind) for side in sides for name, kind in columns]
