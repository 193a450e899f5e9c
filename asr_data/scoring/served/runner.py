"""Requests of the engine, answered by servers that share them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from asr_data.engines import ServedModel
from asr_data.errors import EngineError
from asr_data.http.connection import Connection, RequestFailedError
from asr_data.http.workers import together
from asr_data.scoring.engine import Request
from asr_data.scoring.served.answers import UnusableAnswerError
from asr_data.scoring.served.routes import Route
from asr_data.scoring.served.server import Server, connect
from asr_data.types import Float32

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW: Final = 5
"""A server with so many failed requests and no success in between is down."""
_TRIES: Final = 3
"""How often one request may fail at every server that is not down, each time after all its retries."""
_KEPT: Final = "What is scored so far is kept: run the same command again to go on"

T = TypeVar("T")


class ServedRunner:
    """Asks servers for readings; see :class:`asr_data.scoring.engine.Runner`.

    Args:
        servers: of the same model; they share the requests.
        route: how they are asked.
        served: concurrency, retries, time-out.
        most_numbers: in one answer.

    Attributes:
        attention: who computes.
    """

    def __init__(self, servers: Sequence[Server], route: Route, served: ServedModel, *, most_numbers: int = 0) -> None:
        self.servers, self.route, self.served = tuple(servers), route, served
        self.attention = f"served by {servers[0].program}"
        self._most_numbers = most_numbers

    def run(self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None) -> list[Float32 | None]:
        """See :class:`asr_data.scoring.engine.Runner`; no request is too large for a server.

        Raises:
            EngineError: no server is left, one refuses a request, or an answer is not what was asked for.
        """
        return self._run(requests, self.served.settings.concurrency, on_tokens)

    def run_one_by_one(self, requests: Sequence[Request]) -> list[Float32 | None]:
        """The same, each request by itself and in the opposite order: in other batches."""
        return self._run(requests[::-1], 1, None)[::-1]

    def _run(
        self, requests: Sequence[Request], concurrency: int, on_tokens: Callable[[int], None] | None
    ) -> list[Float32 | None]:
        if not requests:
            return []
        work = _Work(
            requests,
            self.route,
            deque(range(len(requests))),
            on_tokens or _nobody,
            [server.url for server in self.servers],
        )
        asked = [(server, connect(server.url, self.served, most_numbers=self._most_numbers)) for server in self.servers]
        in_loop(_asked(work, asked, concurrency))
        return [work.readings[i] for i in range(len(requests))]


@dataclass(slots=True)
class _Work:
    """Requests that are shared.

    Attributes:
        requests: all of them.
        route: how they are asked.
        waiting: those that nobody works on.
        on_tokens: told of each one that is done.
        readings: of those that are done.
        urls: of the servers.
        tries: how often each has failed, by server.
        in_a_row: url → failures since its last success.
        down: url → its last failure.
    """

    requests: Sequence[Request]
    route: Route
    waiting: deque[int]
    on_tokens: Callable[[int], None]
    urls: Sequence[str]
    readings: dict[int, Float32] = field(default_factory=dict)
    tries: Counter[tuple[int, str]] = field(default_factory=Counter)
    in_a_row: Counter[str] = field(default_factory=Counter)
    down: dict[str, str] = field(default_factory=dict)


async def _asked(work: _Work, asked: Sequence[tuple[Server, Connection]], concurrency: int) -> None:
    each = min(concurrency, len(work.requests))
    try:
        await together(_worker(work, server, connection) for server, connection in asked for _ in range(each))
    finally:
        for _, connection in asked:
            await connection.close()


async def _worker(work: _Work, server: Server, connection: Connection) -> None:
    """Takes requests until all are done, or the server is down."""
    while server.url not in work.down and len(work.readings) < len(work.requests):
        if not work.waiting:
            await asyncio.sleep(0.05)  # another server may fail at one of those under way
            continue
        at = work.waiting.popleft()
        try:
            work.readings[at] = await _answered(work, server, connection, work.requests[at])
        except RequestFailedError as failure:
            work.waiting.append(at)
            work.tries[at, server.url] += 1
            work.in_a_row[server.url] += 1
            _judge(work, at, server.url, failure)
            continue
        work.in_a_row[server.url] = 0
        work.on_tokens(len(work.requests[at].ids))


def _judge(work: _Work, at: int, url: str, failure: RequestFailedError) -> None:
    """After a failure: is it the request, the server, or neither for now?"""
    size = f"a sequence of {len(work.requests[at].ids)} tokens"
    if failure.is_refusal:
        raise EngineError(f"{failure} ({size}). {_KEPT}")
    if work.in_a_row[url] >= FAILURES_IN_A_ROW and url not in work.down:
        work.down[url] = str(failure)
        if len(work.down) == len(work.urls):
            raise EngineError(f"no server is left: {'; '.join(work.down.values())}. {_KEPT}")
        logger.warning("%s: %d requests in a row failed; the other servers go on", failure, FAILURES_IN_A_ROW)
    if all(work.tries[at, other] >= _TRIES for other in work.urls if other not in work.down):
        raise EngineError(f"{failure} ({size}, tried {_TRIES} times with retries at each server). {_KEPT}")


async def _answered(work: _Work, server: Server, connection: Connection, request: Request) -> Float32:
    from openai import OpenAIError

    answers = []
    for call in work.route.calls(request):
        try:
            content = await connection.post(server.url + call.path, call.body)
            answers.append(call.read(content))
        except UnusableAnswerError as error:
            raise EngineError(f"the server at {server.url}: {call.path}: {connection.printable(str(error))}") from None
        except (OpenAIError, ValueError) as error:
            reason = connection.printable(str(error))
            raise EngineError(f"the server at {server.url}: {call.path}: cannot be read: {reason}") from None
    return work.route.values(request, answers)


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it; in a thread of its own where an event loop is running already, as in a notebook."""
    if not _is_in_loop():
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _nobody(_count: int) -> None:
    pass
