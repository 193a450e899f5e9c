"""The response text, and its positions in code points and in UTF-8 bytes."""

from __future__ import annotations

import numpy as np

from asr_data.types import Int32, Int64, Text


def response_text(content: Text) -> str:
    """What the assistant wrote: the string itself, or the contents of the assistant messages in order."""
    if isinstance(content, str):
        return content
    return "".join(message.get("content") or "" for message in content if message["role"] == "assistant")


def byte_offsets(text: str) -> Int64:
    """Return int64 ``[len(text) + 1]``: the byte at which each code point starts, and the length in bytes.

    Raises:
        UnicodeEncodeError: ``text`` holds a lone surrogate, which has no UTF-8 form.
    """
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    return np.append(np.flatnonzero((data & 0xC0) != 0x80), data.size).astype(np.int64, copy=False)


def code_points(text: str, byte_positions: Int32) -> Int32:
    """Return int32: the code point that holds each byte; the length of the text for its end."""
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    holder = np.append(np.cumsum((data & 0xC0) != 0x80) - 1, len(text))
    return holder[byte_positions].astype(np.int32)
