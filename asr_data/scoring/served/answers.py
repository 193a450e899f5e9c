"""What a server answered, read with care: a wrong number must not pass for a reward."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np

from asr_data.types import Float32


class UnusableAnswerError(Exception):
    """An answer that is not what was asked for."""


def json_value(body: bytes) -> Any:
    """The JSON value of an answer.

    Raises:
        UnusableAnswerError: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnusableAnswerError(f"the answer is not JSON: {error}") from None


def member(value: Any, *path: str | int) -> Any:
    """A value inside a JSON value.

    Raises:
        UnusableAnswerError: it is not there; names the path.
    """
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            raise UnusableAnswerError(f"the answer has no {'.'.join(map(str, path))}") from None
    return value


def number(value: Any) -> float:
    """A number; NaN for null, which is how JSON libraries write one that is not finite.

    Raises:
        UnusableAnswerError: anything else.
    """
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableAnswerError(f"expected a number, got {str(value)[:40]!r}")
    return float(value)


def table(rows: Any, count: int, width: int, what: str) -> Float32:
    """A list of lists as float32 ``[count, width]``.

    Raises:
        UnusableAnswerError: it has another shape.
    """
    if not isinstance(rows, list) or len(rows) != count:
        raise UnusableAnswerError(f"{what} of {_length(rows)} tokens for a sequence of {count}")
    for row in rows:
        if not isinstance(row, list) or len(row) != width:
            raise UnusableAnswerError(f"{_length(row)} numbers a token where {width} were expected")
    return np.array([[number(value) for value in row] for row in rows], np.float32).reshape(count, width)


def packed(text: Any, count: int, width: int, what: str) -> Float32:
    """Little-endian float32 in base64 as float32 ``[count, width]``.

    Raises:
        UnusableAnswerError: it is no base64, or of another length.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise UnusableAnswerError(f"{what} are not base64") from None
    if len(content) != 4 * count * width:
        raise UnusableAnswerError(
            f"{len(content) // 4:,} numbers ({what}) for a sequence of {count} tokens, where {count * width:,} were "
            f"expected: {width} a token"
        )
    return np.frombuffer(content, "<f4").reshape(count, width).astype(np.float32)


def require_tokens(found: Any, count: int) -> None:
    """Raise UnusableAnswerError unless the server says that it read so many tokens."""
    if found != count:
        raise UnusableAnswerError(f"the server read {found!r} tokens of a sequence of {count}")


def _length(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else "no list"
