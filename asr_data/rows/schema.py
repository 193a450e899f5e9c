"""The exact Arrow schema of an input, and records written back under it.

Parquet and Arrow files say what their columns hold. JSON and CSV do not, so a first pass over the file joins
the types of all its values: an integer column with one float in it is float, a column that is null so far
takes the type of its first value, objects have the keys of all of them. Kinds that do not join (a text here,
a list there) are an error, because no Arrow column holds both unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from asr_data.errors import InputError

_DEEPEST_NESTING = 100
_CONVERSION_ERRORS = (pa.ArrowException, OverflowError, TypeError, ValueError)


class SchemaBuilder:
    """Joins the types of records, given in chunks of any size.

    Args:
        place: the file, for messages.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._types: dict[str, pa.DataType] = {}
        self._first_row: dict[str, int] = {}

    def add(self, records: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Join the types of a chunk of ``(row index, record)``.

        Raises:
            InputError: a value that Arrow cannot hold, or whose type does not join that of earlier rows.
        """
        columns: dict[str, None] = dict.fromkeys(name for _, record in records for name in record)
        for column in columns:
            values = [record.get(column) for _, record in records]
            try:
                joined = _join(self._types.get(column, pa.null()), _type_of(values))
            except _CONVERSION_ERRORS:
                joined = self._join_one_by_one(column, records)
            self._types[column] = joined
            if column not in self._first_row:
                first = next((index for index, record in records if record.get(column) is not None), None)
                if first is not None:
                    self._first_row[column] = first

    def finish(self) -> pa.Schema:
        """The schema of everything added, in a form that Parquet can hold."""
        return storable(pa.schema(list(self._types.items())))

    def _join_one_by_one(self, column: str, records: Sequence[tuple[int, Mapping[str, Any]]]) -> pa.DataType:
        """The slow way through a chunk that did not join as a whole: finds the first value at fault."""
        joined = self._types.get(column, pa.null())
        for index, record in records:
            value = record.get(column)
            if value is None:
                continue
            try:
                found = _type_of([value])
            except _CONVERSION_ERRORS as error:
                raise InputError(
                    f"{self._place}: row {index}, column {column!r}: Arrow cannot hold this value: {error}"
                ) from error
            try:
                joined = _join(joined, found)
            except _CONVERSION_ERRORS as error:
                raise InputError(
                    f"{self._place}: column {column!r} mixes types that no column can hold: {joined} (first "
                    f"in row {self._first_row.get(column, index)}) and {found} (first in row {index}); make "
                    "them one type, or remove the column"
                ) from error
            self._first_row.setdefault(column, index)
        return joined


def unify(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """One schema for several files.

    Args:
        schemas: ``(file, schema)`` in order.

    Raises:
        InputError: a column has types that do not join; names both files.
    """
    types: dict[str, pa.DataType] = {}
    first_place: dict[str, str] = {}
    for place, schema in schemas:
        for field in schema:
            try:
                types[field.name] = _join(types.get(field.name, pa.null()), field.type)
            except pa.ArrowException as error:
                raise InputError(
                    f"column {field.name!r} is {types[field.name]} in {first_place[field.name]} and "
                    f"{field.type} in {place}; the files of one split must agree"
                ) from error
            first_place.setdefault(field.name, place)
    return pa.schema(list(types.items()))


def storable(schema: pa.Schema) -> pa.Schema:
    """The schema without metadata, and with null in place of structs without fields.

    Parquet has no such struct. An object that is empty in every row carries nothing, so null loses nothing.

    Raises:
        InputError: a column is nested more deeply than readers of the output could follow.
    """
    return pa.schema([pa.field(field.name, _storable_type(field.type, field.name)) for field in schema])


def to_arrow(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Records as a table, one row each, with exactly this schema; absent keys become null.

    Raises:
        InputError: a value that does not fit its column's type.
    """
    arrays = []
    for field in schema:
        values = [record.get(field.name) for record in records]
        if _holds_null_type(field.type):
            values = [_without_empty_objects(value, field.type) for value in values]
        try:
            arrays.append(pa.array(values, type=field.type))
        except _CONVERSION_ERRORS as error:
            raise InputError(f"column {field.name!r} does not hold {field.type}: {error}") from error
    if not arrays:  # a table without columns would have no rows either
        raise InputError("the input has no columns")
    return pa.Table.from_arrays(arrays, schema=schema)


def _type_of(values: list[Any]) -> pa.DataType:
    """The Arrow type of the values.

    Converts where ``pa.infer_type`` would do for speed: the latter calls ``[1, "a"]`` int64.
    """
    found = pa.array(values).type
    if pa.types.is_floating(found) and any(isinstance(value, bool) for value in values):
        raise pa.ArrowTypeError("bool among numbers")  # Arrow would make it 1.0
    return found


def _join(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    if left.equals(right):
        return left
    fields = [pa.schema([("column", left)]), pa.schema([("column", right)])]
    return pa.unify_schemas(fields, promote_options="permissive").field(0).type


def _storable_type(kind: pa.DataType, column: str, depth: int = 0) -> pa.DataType:
    if depth > _DEEPEST_NESTING:
        raise InputError(f"column {column!r} is nested more than {_DEEPEST_NESTING} levels deep")
    if pa.types.is_struct(kind):
        if kind.num_fields == 0:
            return pa.null()
        return pa.struct([(child.name, _storable_type(child.type, column, depth + 1)) for child in kind.fields])
    if pa.types.is_list(kind):
        return pa.list_(_storable_type(kind.value_type, column, depth + 1))
    if pa.types.is_large_list(kind):
        return pa.large_list(_storable_type(kind.value_type, column, depth + 1))
    return kind


def _holds_null_type(kind: pa.DataType) -> bool:
    if pa.types.is_null(kind):
        return True
    if pa.types.is_struct(kind):
        return any(_holds_null_type(child.type) for child in kind.fields)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_null_type(kind.value_type)
    return False


def _without_empty_objects(value: Any, kind: pa.DataType) -> Any:
    if value is None or (pa.types.is_null(kind) and value == {}):
        return None
    if pa.types.is_struct(kind):
        return {child.name: _without_empty_objects(value.get(child.name), child.type) for child in kind.fields}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_without_empty_objects(item, kind.value_type) for item in value]
    return value
