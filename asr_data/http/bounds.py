"""How long a server may take for an answer, and how large it may be: a server can send anything, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from httpx2 import AsyncByteStream, ReadError, ReadTimeout, Request, Response
from openai import DefaultAsyncHttpxClient

MOST_BYTES: Final = 2**24
"""Of one answer. One of a million tokens has about four million."""


def bounded_client(
    timeout: float, on_request: Sequence[Callable[[Request], Any]], most_bytes: int = MOST_BYTES
) -> DefaultAsyncHttpxClient:
    """An HTTP client that follows no redirects and ends an answer that takes too long or becomes too large.

    Args:
        timeout: of a whole request, answer included, in seconds; httpx's own is that of each read.
        on_request: called with each request before it is sent.
        most_bytes: of one answer.
    """

    async def limited(response: Response) -> None:
        _check_uncompressed(response)
        response.stream = _Limited(response.stream, most_bytes)

    hooks = {"request": [*on_request, _uncompressed], "response": [limited]}
    return _Client(follow_redirects=False, timeout=timeout, event_hooks=hooks, whole=timeout)


class _Client(DefaultAsyncHttpxClient):
    def __init__(self, *, whole: float, **options: Any) -> None:
        super().__init__(**options)
        self._whole = whole

    async def send(self, request: Request, **options: Any) -> Response:
        """As httpx does, within the time for a whole request."""
        try:
            async with asyncio.timeout(self._whole):
                return await super().send(request, **options)
        except TimeoutError as error:
            raise ReadTimeout(f"no whole answer within {self._whole:g} s", request=request) from error


async def _uncompressed(request: Request) -> None:
    """Some bytes can be the compressed form of any number of them."""
    request.headers["Accept-Encoding"] = "identity"


def _check_uncompressed(response: Response) -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise ReadError(f"the answer is compressed ({encoding!r}), though that was not asked for")


class _Limited(AsyncByteStream):
    def __init__(self, stream: Any, most_bytes: int) -> None:
        self._stream, self._most_bytes = stream, most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > self._most_bytes:
                raise ReadError(f"the answer is larger than {self._most_bytes:,} bytes; the rest is not read")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
