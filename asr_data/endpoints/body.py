"""The body of an HTTP answer, bounded in time and size. Time-outs of the HTTP client hold for each piece alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

MOST_BYTES: Final = 32_000_000
"""No reply that a model can write is longer; a larger answer is an error."""


def limited(stream: Any, seconds: float) -> Any:
    """A stream of ``httpx2`` that raises ``ReadTimeout`` or ``ReadError`` where the body goes on for too long.

    Args:
        stream: the body of an answer, as it comes.
        seconds: until its end.
    """
    from httpx2 import AsyncByteStream, ReadError, ReadTimeout

    class Limited(AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size, pieces = 0, aiter(stream)
            end = asyncio.get_running_loop().time() + seconds
            while True:
                try:
                    async with asyncio.timeout_at(end):  # not around the yield, where the caller waits
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise ReadTimeout(f"the answer did not end within {seconds:g} s") from error
                size += len(piece)
                if size > MOST_BYTES:
                    raise ReadError(f"the answer is longer than {MOST_BYTES:,} bytes")
                yield piece

        async def aclose(self) -> None:
            await stream.aclose()

    return Limited()
