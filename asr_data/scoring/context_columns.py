"""Whether a data set has the columns that contexts show; known before a model is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from asr_data.errors import InputError
from asr_data.rows.columns import column_type, is_number, is_text, item_type
from asr_data.scoring.context_config import ContextConfig, columns_of


def check_columns(contexts: Sequence[ContextConfig], sides: Iterable[str], schema: pa.Schema) -> None:
    """Refuse contexts that show what the data set does not have.

    Args:
        contexts: of a scorer.
        sides: of the data set's rows.
        schema: its columns.

    Raises:
        InputError: a column is not there, naming those that are; or it holds neither texts nor numbers.
    """
    for column in columns_of(contexts, sides):
        kind = column_type(schema, column)
        if kind is None:
            there = ", ".join(schema.names) or "none"
            raise InputError(f"the scorer's context shows the column {column!r}, which is missing; there are {there}")
        if not _can_be_shown(kind):
            raise InputError(f"column {column!r} is {kind}; a context shows texts, numbers, or lists of them")


def _can_be_shown(kind: pa.DataType) -> bool:
    item = item_type(kind)
    if item is not None:
        messages = pa.types.is_struct(item) and item.get_field_index("role") >= 0
        return messages or _can_be_shown(item)
    simple = is_text(kind) or is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    return simple or pa.types.is_dictionary(kind)
