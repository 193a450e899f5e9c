"""Columns named by path: ``chosen``, a key inside an object, or that key of every object in a list.

``input.messages`` is the key ``messages`` of the column ``input``; ``completions.response`` is, for each object
in the list ``completions``, its ``response``. A column whose own name holds the dots comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa


def column_type(schema: pa.Schema, path: str) -> pa.DataType | None:
    """The Arrow type of what stands at a path, or None where nothing does."""
    if path in schema.names:
        return schema.field(path).type
    first, *keys = path.split(".")
    return _type_inside(schema.field(first).type, keys) if keys and first in schema.names else None


def column_value(record: Mapping[str, Any], path: str) -> Any:
    """What stands at a path in a record; None where nothing does, and for each list item that lacks the key."""
    if path in record:
        return record[path]
    first, *keys = path.split(".")
    return _value_inside(record.get(first), keys) if keys else None


def item_type(kind: pa.DataType) -> pa.DataType | None:
    """The type of a list's items, or None where a type is no list."""
    return kind.value_type if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType) else None


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a type holds integers or floats."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_span(kind: pa.DataType) -> bool:
    """Whether a type holds objects with ``start`` and ``end``."""
    return pa.types.is_struct(kind) and {"start", "end"} <= {field.name for field in kind.fields}


def _type_inside(kind: pa.DataType, keys: list[str]) -> pa.DataType | None:
    if not keys:
        return kind
    if (item := item_type(kind)) is not None:
        inside = _type_inside(item, keys)
        return None if inside is None else pa.list_(inside)
    if pa.types.is_struct(kind) and kind.get_field_index(keys[0]) >= 0:
        return _type_inside(kind.field(keys[0]).type, keys[1:])
    return None


def _value_inside(value: Any, keys: list[str]) -> Any:
    if not keys:
        return value
    if isinstance(value, list | tuple):
        return [_value_inside(item, keys) for item in value]
    return _value_inside(value.get(keys[0]), keys[1:]) if isinstance(value, Mapping) else None
