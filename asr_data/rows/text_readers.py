"""Readers of JSON Lines, JSON and CSV files: one pass for count and schema, further passes for records.

No reader holds more than a chunk of the file, and none stops at a row it cannot read: that row is rejected.
Columns of a CSV file are text, all of them: CSV has no types, and ``007`` is not 7.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa

from asr_data.errors import InputError
from asr_data.rows.file_formats import BinaryFile, Compression, decompressed
from asr_data.rows.schema import SchemaBuilder, to_arrow
from asr_data.types import RejectedRow

RawRow: TypeAlias = tuple[int, Mapping[str, Any]] | RejectedRow

_SCAN_ROWS = 1_000
_CHUNK_CHARACTERS = 1 << 20
_BYTE_ORDER_MARK = "\ufeff"
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_HUGE_NUMBER = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{309}")
_SPACE = b" \t\r\n"
_JSON_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_LITERAL = len("-Infinity")
_LONGEST_EXPONENT_SIGN = len("e-")


class TextReader(ABC):
    """A file whose rows are known only by reading it.

    Subclasses give ``_rows``, every row from the first one on.

    Args:
        path: the file.
        compression: how it is compressed; None where it is not.

    Attributes:
        rows: number of rows, those that will be rejected included.
        schema: the joined types of all records.
        notes: none; every type that JSON and CSV have can be stored.

    Raises:
        InputError: the file cannot be read, or a column's types do not join.
    """

    notes: Sequence[str] = ()

    def __init__(self, path: Path, compression: Compression | None = None) -> None:
        self.path, self.compression = path, compression
        self.rows, self.schema = self._scan()

    def records(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows ``[start, stop)`` in order."""
        with self._readable() as stream:
            yield from islice(self._rows(stream, start), max(0, stop - start))

    def _readable(self) -> AbstractContextManager[BinaryFile]:
        return decompressed(self.path, self.compression)

    @abstractmethod
    def _rows(self, stream: BinaryFile, start: int) -> Iterator[RawRow]:
        """The rows from ``start`` to the end."""

    def _scan(self) -> tuple[int, pa.Schema]:
        builder, rows = SchemaBuilder(str(self.path)), 0
        with self._readable() as stream:
            source = self._rows(stream, 0)
            while chunk := list(islice(source, _SCAN_ROWS)):
                rows += len(chunk)
                builder.add([row for row in chunk if not isinstance(row, RejectedRow)])
        schema = builder.finish()
        if builder.widened:
            self._check(schema)
        return rows, schema

    def _check(self, schema: pa.Schema) -> None:
        """Refuses, before anything is scored, a value that its column's joined type cannot hold."""
        with self._readable() as stream:
            for row in self._rows(stream, 0):
                if not isinstance(row, RejectedRow):
                    try:
                        to_arrow([row[1]], schema)
                    except InputError as error:
                        raise InputError(f"{self.path}: row {row[0]}, {error}") from error


class JsonLinesReader(TextReader):
    """One JSON object per line. Blank lines are skipped."""

    def _rows(self, stream: BinaryFile, start: int) -> Iterator[RawRow]:
        index = 0
        for number, line in enumerate(stream, start=1):
            text = line.removeprefix(_BYTE_ORDER_MARK.encode()) if number == 1 else line
            if not text.strip():
                continue
            if index >= start:
                yield _parse_line(index, number, text)
            index += 1


class JsonArrayReader(TextReader):
    """One JSON array of objects, decoded element by element.

    A byte that is not UTF-8 rejects the element it is in; after broken syntax no next element can be found, so it is an
    InputError.
    """

    def _rows(self, stream: BinaryFile, start: int) -> Iterator[RawRow]:
        with _decoded(stream) as text:
            for index, (value, faults) in enumerate(_array_elements(text, self.path)):
                if index < start:
                    continue
                if faults:
                    yield RejectedRow(index, "invalid_json", f"element {index} {faults[0]}")
                else:
                    yield _checked(index, value, f"element {index}")


class CsvReader(TextReader):
    """A header line, then rows with as many fields as the header; every value is a text."""

    separator = ","

    def _rows(self, stream: BinaryFile, start: int) -> Iterator[RawRow]:
        # The module's limit of 128 KiB per field is below the length of real responses, and is global.
        csv.field_size_limit(max(csv.field_size_limit(), min(sys.maxsize, 2**31 - 1)))
        with _decoded(stream) as text:
            yield from self._parse(csv.reader(text, strict=True, delimiter=self.separator), start)

    def _parse(self, reader: Any, start: int) -> Iterator[RawRow]:
        header = next(self._nonblank(reader), [])
        if header:
            header[0] = header[0].removeprefix(_BYTE_ORDER_MARK)
        self._check_header(header)
        for index, fields in enumerate(self._nonblank(reader)):
            if index < start:
                continue
            place = f"line {reader.line_num}"
            if len(fields) != len(header):
                message = f"{place} has {len(fields)} fields, the header has {len(header)}"
                yield RejectedRow(index, "not_an_object", message)
            else:
                yield _checked(index, dict(zip(header, fields, strict=True)), place)

    def _nonblank(self, reader: Any) -> Iterator[list[str]]:
        try:
            yield from filter(None, reader)
        except csv.Error as error:
            raise InputError(f"{self.path}: line {reader.line_num} is not valid CSV: {error}") from error

    def _check_header(self, header: list[str]) -> None:
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise InputError(f"{self.path}: the header names a column twice: {', '.join(twice)}")
        if not _encodable(header):
            raise InputError(f"{self.path}: the header is not valid UTF-8")


class TsvReader(CsvReader):
    """The same with tabs between fields."""

    separator = "\t"


def json_reader(path: Path, compression: Compression | None = None) -> TextReader:
    """Reader of a ``.json`` file: an array of objects, or JSON Lines under that name.

    Raises:
        InputError: it is neither.
    """
    with decompressed(path, compression) as stream:
        line = next((line for line in stream if line.strip(_BYTE_ORDER_MARK.encode() + _SPACE)), b"")
    line = line.strip(_BYTE_ORDER_MARK.encode() + _SPACE)
    if not line or line.startswith(b"["):
        return JsonArrayReader(path, compression)
    if isinstance(_parse_line(0, 1, line), RejectedRow):
        raise InputError(f"{path}: a .json file must hold an array of objects, or one object per line")
    return JsonLinesReader(path, compression)


def _decoded(stream: BinaryFile) -> io.TextIOWrapper:
    """The stream as text; bytes that are not UTF-8 become lone surrogates, for which the row is rejected."""
    return io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")


def _parse_line(index: int, number: int, line: bytes) -> RawRow:
    place = f"line {number}"
    faults: list[str] = []
    try:
        value = _decoder(faults, line).decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RejectedRow(index, "invalid_unicode", f"{place} is not valid UTF-8: {error}")
    except (ValueError, RecursionError) as error:  # also integers of over 4,300 digits
        return RejectedRow(index, "invalid_json", f"{place} is not valid JSON: {error}")
    if faults:
        return RejectedRow(index, "invalid_json", f"{place} {faults[0]}")
    return _checked(index, value, place, may_hold_surrogates=bool(_SURROGATE_ESCAPE.search(line)))


def _decoder(faults: list[str], line: bytes = b"") -> json.JSONDecoder:
    """Decodes JSON, and notes in ``faults`` what Python's own decoder changes silently.

    Of a key that an object has twice, it keeps the last value; a number beyond double precision becomes infinity.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            faults.append(f"has an object with the key {twice!r} twice")
        return found

    def finite(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            faults.append(f"holds the number {digits[:20]}, which is beyond double precision")
        return number

    may_overflow = not line or _HUGE_NUMBER.search(line)
    return json.JSONDecoder(object_pairs_hook=unique, parse_float=finite if may_overflow else None)


def _checked(index: int, value: Any, place: str, may_hold_surrogates: bool = True) -> RawRow:
    if not isinstance(value, dict):
        return RejectedRow(index, "not_an_object", f"{place} is {_JSON_KIND[type(value)]}, not an object")
    if may_hold_surrogates and not _encodable(value):
        return RejectedRow(index, "invalid_unicode", f"{place} holds a lone surrogate or bytes that are not UTF-8")
    return index, value


_JSON_KIND = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "an array",
    type(None): "null",
}


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _array_elements(text: IO[str], path: Path) -> Iterator[tuple[Any, list[str]]]:
    """The elements of a JSON array, each with its faults; holds no more of the file than the element needs.

    Raises:
        InputError: the text is not a JSON array; names the element.
    """
    buffer = _Buffer(text, path)
    if not buffer.peek():
        return
    buffer.expect("[", 0)
    count = 0
    if buffer.peek() == "]":
        buffer.expect("]", 0)
    else:
        separator = ","
        while separator == ",":
            yield buffer.value(count)
            count += 1
            separator = buffer.expect(",]", count)
    if trailing := buffer.peek():
        raise InputError(f"{path}: {trailing!r} after the end of the array")


class _Buffer:
    """A window on a JSON text: grows while a value is incomplete, drops what was consumed when it grows."""

    def __init__(self, stream: IO[str], path: Path) -> None:
        self._stream, self._path = stream, path
        self._text, self._at, self._ended = "", 0, False
        self._more()
        self._text = self._text.removeprefix(_BYTE_ORDER_MARK)

    def peek(self) -> str:
        """The next character that is not space, or "" at the end."""
        while True:
            space = _JSON_SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def expect(self, allowed: str, count: int) -> str:
        """Consume one of the allowed characters."""
        found = self.peek()
        if not found or found not in allowed:
            what = " or ".join(repr(character) for character in allowed)
            raise InputError(
                f"{self._path}: not a JSON array of objects: expected {what} before element {count}, "
                f"found {repr(found) if found else 'the end of the file'}"
            )
        self._at += 1
        return found

    def value(self, count: int) -> tuple[Any, list[str]]:
        """Consume one value; also gives what is wrong with it."""
        place = f"{self._path}: element {count}"
        self.peek()
        while True:
            faults: list[str] = []
            try:
                value, end = _decoder(faults).raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_final(error) or not self._more():
                    raise InputError(f"{place} is not valid JSON: {error.msg}") from error
            except (ValueError, RecursionError) as error:
                raise InputError(f"{place} cannot be read: {error}") from error
            else:
                # A number at the end of the window may go on after it, by ".5" or "e-5".
                if end + _LONGEST_EXPONENT_SIGN < len(self._text) or not self._more():
                    self._at = end
                    return value, faults

    def _more(self) -> bool:
        """Read on, by at least as much as is held, so that a long value is not rescanned too often."""
        rest = self._text[self._at :]
        chunk = self._stream.read(max(_CHUNK_CHARACTERS, len(rest)))
        if chunk:
            self._text, self._at = rest + chunk, 0
        self._ended = not chunk
        return bool(chunk)

    def _is_final(self, error: json.JSONDecodeError) -> bool:
        """Whether more text cannot resolve the error: it is neither at the end nor in an open string."""
        near_end = error.pos >= len(self._text) - _LONGEST_LITERAL
        return self._ended or not (near_end or error.msg.startswith("Unterminated string"))
