"""The exact Arrow schema of an input, and records written back under it.

Parquet and Arrow files say what their columns hold. JSON and CSV do not, so a first pass over the file joins
the types of all its values: an integer column with one float in it is float, a column that is null so far
takes the type of its first value, objects have the keys of all of them. Kinds that do not join (a text here,
a list there) are an error, because no Arrow column holds both unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from asr_data.errors import InputError
from asr_data.rows.arrow_types import conform_batch, stored_schema
from asr_data.rows.features import features_of, joined_features, with_features
from asr_data.rows.records import ArrowRecord

_CONVERSION_ERRORS = (pa.ArrowException, OverflowError, TypeError, ValueError)


class SchemaBuilder:
    """Joins the types of records, given in chunks of any size.

    Args:
        place: the file, for messages.

    Attributes:
        widened: whether integers joined fractions, so that an integer may not be exact as a double.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._types: dict[str, pa.DataType] = {}
        self._first_row: dict[str, int] = {}
        self.widened = False

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
                self.widened = True
            before = self._types.get(column, pa.null())
            self.widened |= not pa.types.is_null(before) and not before.equals(joined)
            self._types[column] = joined
            if column not in self._first_row:
                first = next((index for index, record in records if record.get(column) is not None), None)
                if first is not None:
                    self._first_row[column] = first

    def finish(self) -> pa.Schema:
        """The schema of everything added, in a form that Parquet can hold."""
        return stored_schema(pa.schema(list(self._types.items())))

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
    listed = list(schemas)
    for place, schema in listed:
        for field in schema:
            try:
                types[field.name] = _join(types.get(field.name, pa.null()), field.type)
            except pa.ArrowException as error:
                raise InputError(
                    f"column {field.name!r} is {types[field.name]} in {first_place[field.name]} and "
                    f"{field.type} in {place}; the files of one split must agree"
                ) from error
            first_place.setdefault(field.name, place)
    features = joined_features(listed)
    return with_features(pa.schema(list(types.items())), features)


def to_arrow(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Records as a table, one row each, with exactly this schema; absent keys become null.

    Rows of Arrow tables stay Arrow: their values do not pass through Python objects.

    Raises:
        InputError: a value that does not fit its column's type.
    """
    if not len(schema):  # a table without columns would have no rows either
        raise InputError("the input has no columns")
    batches: list[pa.RecordBatch] = []
    for batch, group in groupby(records, key=lambda record: getattr(record, "batch", None)):
        rows = list(group)
        if batch is None:
            batches += _converted(rows, schema)
        else:
            batches.append(_taken(batch, [record.row for record in rows if isinstance(record, ArrowRecord)], schema))
    return pa.Table.from_batches(batches, schema=schema)


def _taken(batch: pa.RecordBatch, rows: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:
    first, last = rows[0], rows[-1]
    whole = list(rows) == list(range(first, last + 1))
    taken = batch.slice(first, last - first + 1) if whole else batch.take(pa.array(rows, pa.int64()))
    try:
        return conform_batch(taken, schema)
    except pa.ArrowException as error:
        raise InputError(f"the columns {batch.schema.names} do not fit those of the data set: {error}") from error


def _converted(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> list[pa.RecordBatch]:
    """One batch, or several where a column holds more bytes than one may."""
    arrays = []
    for field in schema:
        values = [record.get(field.name) for record in records]
        if _holds_null_type(field.type):
            values = [_without_empty_objects(value, field.type) for value in values]
        try:
            array = pa.array(values, type=field.type)
            if isinstance(array, pa.ChunkedArray):
                raise pa.ArrowCapacityError("more than 2 GiB")
        except pa.ArrowCapacityError as error:
            if len(records) == 1:
                raise InputError(f"column {field.name!r}: a value is larger than Arrow can hold: {error}") from error
            half = len(records) // 2
            return [*_converted(records[:half], schema), *_converted(records[half:], schema)]
        except _CONVERSION_ERRORS as error:
            raise InputError(f"column {field.name!r} does not hold {field.type}: {error}") from error
        arrays.append(array)
    return [pa.RecordBatch.from_arrays(arrays, schema=schema)]


def input_columns(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """The input's columns among those of an output, with their features."""
    columns = pa.schema([schema.field(name) for name in names])
    return with_features(stored_schema(columns), features_of(schema))


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
