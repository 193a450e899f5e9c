"""Arrow types as they are stored, and arrays cast to them without passing through Python objects.

``datasets`` and Parquet do not know every Arrow type. What they lack is stored as the nearest type that holds the same
values: a view as the plain type, a map as a list of key and value, encoded values as the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias, cast

import numpy as np
import pyarrow as pa

from asr_data.errors import InputError

Array: TypeAlias = "pa.Array[Any]"

DEEPEST_NESTING: Final = 100
_JSON: Final = "arrow.json"
_UUID: Final = "arrow.uuid"
_BOOL: Final = "arrow.bool8"
_LISTS: Final = (pa.ListType, pa.ListViewType, pa.MapType)
_LARGE_LISTS: Final = (pa.LargeListType, pa.LargeListViewType)


def stored_type(kind: pa.DataType, column: str, depth: int = 0) -> pa.DataType:
    """The type under which a column's values are stored; the type itself where it can be.

    Args:
        kind: the input's type.
        column: its name, for messages.
        depth: levels of nesting above.

    Raises:
        InputError: Parquet or ``datasets`` has no type for such values, or they are nested too deeply.
    """
    if depth > DEEPEST_NESTING:
        raise InputError(f"column {column!r} is nested more than {DEEPEST_NESTING} levels deep")

    def inner(child: pa.DataType) -> pa.DataType:
        return stored_type(child, column, depth + 1)

    if isinstance(kind, pa.StructType):
        return _stored_struct(kind, column, inner)
    if isinstance(kind, _LISTS):
        return pa.list_(inner(item_of(kind)))
    if isinstance(kind, _LARGE_LISTS):
        return pa.large_list(inner(kind.value_type))
    if isinstance(kind, pa.FixedSizeListType):
        return pa.list_(inner(kind.value_type), kind.list_size)
    if isinstance(kind, pa.DictionaryType | pa.RunEndEncodedType):
        return inner(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == _JSON:
            return kind
        known: dict[str, pa.DataType] = {_UUID: pa.string(), _BOOL: pa.bool_()}
        return known.get(kind.extension_name) or inner(kind.storage_type)
    if pa.types.is_union(kind) or pa.types.is_interval(kind):
        raise InputError(f"column {column!r} is {kind}, which Parquet cannot hold; cast or remove the column")
    return _stored_scalar(kind)


def item_of(kind: pa.DataType) -> pa.DataType:
    """The type of a list's items; those of a map are objects with ``key`` and ``value``."""
    if isinstance(kind, pa.MapType):
        return pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])
    return cast(pa.DataType, kind.value_type)  # type: ignore[attr-defined]  # of a list


def _stored_struct(kind: pa.StructType, column: str, inner: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    if kind.num_fields == 0:
        return pa.null()  # Parquet has no such struct; null loses nothing
    names = [child.name for child in kind.fields]
    if len(set(names)) < len(names):
        raise InputError(f"column {column!r} is {kind}: an object has one key twice; rename or remove it")
    return pa.struct([(child.name, inner(child.type)) for child in kind.fields])


def _stored_scalar(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if isinstance(kind, pa.Decimal32Type | pa.Decimal64Type):
        return pa.decimal128(kind.precision, kind.scale)
    # Parquet has no seconds, and no dates in milliseconds: read back, they have these types.
    if kind == pa.time32("s"):
        return pa.time32("ms")
    if kind == pa.date64():
        return pa.date32()
    if isinstance(kind, pa.TimestampType) and kind.unit == "s":
        return pa.timestamp("ms", tz=kind.tz)
    return kind


def cast_notes(schema: pa.Schema, stored: pa.Schema) -> Iterator[str]:
    """One line for each column that is stored under another type; objects without keys become null silently."""
    for before, after in zip(schema, stored, strict=True):
        if not _same_but_empty(before.type, after.type):
            yield f"column {before.name!r} is {_short(before.type)}, and is stored as {_short(after.type)}"


def _same_but_empty(kind: pa.DataType, stored: pa.DataType) -> bool:
    if isinstance(kind, pa.StructType):
        return kind.num_fields == 0 or (
            isinstance(stored, pa.StructType)
            and all(_same_but_empty(a.type, b.type) for a, b in zip(kind.fields, stored.fields, strict=True))
        )
    if type(kind) is type(stored) and isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return _same_but_empty(kind.value_type, stored.value_type)  # type: ignore[attr-defined]  # of a list, too
    return kind.equals(stored)


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 80 else text[:77] + "..."


def conform(array: Array, kind: pa.DataType) -> Array:
    """The same values as another type.

    Args:
        array: of any type.
        kind: what ``stored_type`` makes of it, or a type that joins it with those of other files: with more keys,
            wider numbers, or anything in place of null.

    Raises:
        ArrowException: a value that the type cannot hold.
    """
    if array.type.equals(kind):
        return array
    if isinstance(array, pa.ExtensionArray):
        if cast(pa.BaseExtensionType, array.type).extension_name == _UUID and pa.types.is_string(kind):
            return _uuid_texts(array.storage)
        return conform(array.storage, kind)
    if isinstance(array, pa.DictionaryArray):  # the values first: Arrow decodes no views, which polars writes
        return pa.DictionaryArray.from_arrays(array.indices, conform(array.dictionary, kind)).dictionary_decode()
    if isinstance(array, pa.RunEndEncodedArray):
        return _run_end_decoded(array, kind)
    if pa.types.is_null(array.type) or pa.types.is_null(kind):
        return _nulls(len(array), kind)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, conform(array, kind.storage_type))
    if isinstance(array, pa.StructArray) and isinstance(kind, pa.StructType):
        return _conform_struct(array, kind)
    if isinstance(kind, pa.ListType | pa.LargeListType):
        return _conform_list(array, kind)
    if isinstance(array, pa.FixedSizeListArray) and isinstance(kind, pa.FixedSizeListType):
        size = kind.list_size
        values = conform(array.values.slice(array.offset * size, len(array) * size), kind.value_type)
        made: Any = pa.FixedSizeListArray.from_arrays
        return cast(Array, made(values, type=kind, mask=_mask(array)))
    return array.cast(kind)


def _run_end_decoded(array: Any, kind: pa.DataType) -> Array:
    first, last = array.find_physical_offset(), array.find_physical_offset() + array.find_physical_length()
    ends = array.run_ends.slice(first, last - first).to_numpy()
    ends = np.minimum(ends.astype(np.int64) - array.offset, len(array))
    runs = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    values = conform(array.values.slice(first, last - first), kind)
    return values.take(pa.array(runs, pa.int64()))


def _conform_struct(array: pa.StructArray, kind: pa.StructType) -> Array:
    children: list[Array] = []
    for field in kind.fields:
        index = array.type.get_field_index(field.name)
        # ``field`` heeds the slice, and leaves nulls of the object itself to the mask.
        found = _nulls(len(array), field.type) if index < 0 else conform(array.field(index), field.type)
        children.append(found)
    return pa.StructArray.from_arrays(children, fields=list(kind.fields), mask=_mask(array))


def _conform_list(array: Any, kind: pa.ListType[Any] | pa.LargeListType[Any]) -> Array:
    """Lists of any form as ``list`` or ``large_list``. Arrow's own cast of views loses items."""
    if isinstance(array, pa.MapArray):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        keys, items = (child.slice(first, last - first) for child in (array.keys, array.items))
        lengths = np.diff(array.offsets.to_numpy())
        flat: Array = pa.StructArray.from_arrays([keys, items], names=["key", "value"])
    else:
        lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        flat = array.flatten()
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    values = conform(flat, kind.value_type)
    if isinstance(kind, pa.LargeListType):
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values, type=kind, mask=_mask(array))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind, mask=_mask(array))


def _nulls(count: int, kind: pa.DataType) -> Array:
    make: Any = pa.nulls  # the stubs have one form for each type, and none for any
    return cast(Array, make(count, kind))


def _mask(array: Array) -> Any:
    return array.is_null() if array.null_count else None


def _uuid_texts(storage: Any) -> Array:
    """``8-4-4-4-12`` hexadecimal digits."""
    texts: list[str | None] = []
    for value in storage.to_pylist():
        digits = None if value is None else value.hex()
        cuts = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
        texts.append(None if digits is None else "-".join(digits[a:b] for a, b in cuts))
    return pa.array(texts, pa.string())


def conform_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a schema, in its order and types; null where the batch lacks one."""
    columns = [
        conform(batch.column(field.name), field.type)
        if field.name in batch.schema.names
        else _nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def bytes_type(kind: pa.DataType) -> pa.DataType:
    """The type with bytes in place of texts: Arrow checks offsets of either, and UTF-8 of texts alone."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_string_view(kind):
        return pa.binary_view()
    if isinstance(kind, pa.StructType):
        return pa.struct([(child.name, bytes_type(child.type)) for child in kind.fields])
    for form, make in _LIST_FORMS:
        if isinstance(kind, form):
            return make(pa.field(kind.value_field.name, bytes_type(kind.value_type)))
    if isinstance(kind, pa.FixedSizeListType):
        return pa.list_(pa.field(kind.value_field.name, bytes_type(kind.value_type)), kind.list_size)
    return kind


_LIST_FORMS: Final[Sequence[tuple[Any, Callable[[Any], pa.DataType]]]] = (
    (pa.ListType, pa.list_),
    (pa.LargeListType, pa.large_list),
    (pa.ListViewType, pa.list_view),
    (pa.LargeListViewType, pa.large_list_view),
)


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The schema under which an input's columns are stored; it has no metadata.

    Raises:
        InputError: a column that cannot be stored.
    """
    return pa.schema([pa.field(field.name, stored_type(field.type, field.name)) for field in schema])


def check_names(names: Iterable[str], place: object) -> None:
    """Refuses a table that has one name twice.

    Raises:
        InputError: names the columns.
    """
    listed = list(names)
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise InputError(f"{place}: column names occur twice: {', '.join(twice)}")
