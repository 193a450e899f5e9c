"""Values inside a record, or the reason why they are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from asr_data.errors import RowRejected
from asr_data.rows.labelled.format import InputRecord
from asr_data.types import Message

_ROLES: Final = ("system", "user", "assistant", "tool")


def mismatch(message: str) -> NoReturn:
    """Reject the row: its labels do not fit its text."""
    raise RowRejected("label_mismatch", message)


def value(record: InputRecord, *path: str) -> Any:
    """What stands at a path of keys.

    Raises:
        RowRejected: ``missing_column`` where it is absent or null, ``wrong_type`` where a key's parent is no object.
    """
    found: Any = record
    for depth, key in enumerate(path):
        if not isinstance(found, Mapping):
            raise RowRejected("wrong_type", f"{'.'.join(path[:depth])!r} is {type(found).__name__}, not an object")
        found = found.get(key)
        if found is None:
            raise RowRejected("missing_column", f"{'.'.join(path[: depth + 1])!r} is absent or null")
    return found


def text(record: InputRecord, *path: str) -> str:
    """A text that has a UTF-8 form.

    Raises:
        RowRejected: ``missing_column``, ``wrong_type`` or ``invalid_unicode``.
    """
    return _text(value(record, *path), ".".join(path))


def items(record: InputRecord, *path: str) -> Sequence[Any]:
    """A list.

    Raises:
        RowRejected: ``missing_column`` or ``wrong_type``.
    """
    found = value(record, *path)
    if not isinstance(found, list | tuple):
        raise RowRejected("wrong_type", f"{'.'.join(path)!r} is {type(found).__name__}, not a list")
    return found


def texts(record: InputRecord, *path: str) -> list[str]:
    """A list of texts; see :func:`text`."""
    return [_text(item, f"{'.'.join(path)}[{number}]") for number, item in enumerate(items(record, *path))]


def mapping(record: InputRecord, *path: str) -> InputRecord:
    """An object.

    Raises:
        RowRejected: ``missing_column`` or ``wrong_type``.
    """
    found = value(record, *path)
    if not isinstance(found, Mapping):
        raise RowRejected("wrong_type", f"{'.'.join(path)!r} is {type(found).__name__}, not an object")
    return found


def objects(record: InputRecord, *path: str) -> list[InputRecord]:
    """A list of objects.

    Raises:
        RowRejected: ``missing_column`` or ``wrong_type``.
    """
    found = items(record, *path)
    for number, item in enumerate(found):
        if not isinstance(item, Mapping):
            raise RowRejected("wrong_type", f"'{'.'.join(path)}[{number}]' is {type(item).__name__}, not an object")
    return list(found)


def conversation(record: InputRecord, *path: str) -> str | list[Message]:
    """A text, or messages without the keys that are null.

    Raises:
        RowRejected: ``missing_column``, ``wrong_type`` or ``invalid_unicode``.
    """
    if isinstance(value(record, *path), str):
        return text(record, *path)
    messages: list[Message] = []
    for number, message in enumerate(objects(record, *path)):
        if message.get("role") not in _ROLES:
            place = f"'{'.'.join(path)}', message {number}"
            raise RowRejected("wrong_type", f"{place}: the role is {message.get('role')!r}, not of {', '.join(_ROLES)}")
        text(message, "content")
        messages.append({key: item for key, item in message.items() if item is not None})
    return messages


def integer(found: Any, place: str) -> int:
    """A whole number; tables that hold nulls store such as floats.

    Raises:
        RowRejected: ``label_mismatch``.
    """
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    if isinstance(found, float) and found.is_integer():
        return int(found)
    return mismatch(f"{place} is {found!r}, not a whole number")


def fraction(found: Any, place: str, highest: float = 1.0) -> float:
    """A number from 0 to ``highest``, divided by it; true is 1 and false is 0.

    Raises:
        RowRejected: ``label_mismatch``.
    """
    if not isinstance(found, int | float) or not 0 <= found <= highest:
        mismatch(f"{place} is {found!r}, not a number from 0 to {highest:g}")
    return float(found) / highest


def _text(found: Any, place: str) -> str:
    if not isinstance(found, str):
        raise RowRejected("wrong_type", f"{place!r} is {type(found).__name__}, not a text")
    try:
        found.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowRejected("invalid_unicode", f"{place!r} holds a lone surrogate: {error}") from error
    return found
