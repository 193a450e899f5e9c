"""Answers without end: bytes that do not stop, bytes that come one by one, bytes that unpack to many more."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from asr_data.endpoints.client import Client, ReplyForm, RequestFailedError
from asr_data.judging import Judge, RequestSettings
from asr_data.judging.config import JUDGE

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def serving(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server on loopback that reads one request a connection and then does what ``answer`` does."""
    stop = threading.Event()

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(2**16)
            answer(connection, stop)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        stop.set()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def failure(url: str, timeout: float) -> str:
    async def ask() -> None:
        client = Client(Judge(model="m", endpoint=url), RequestSettings(retries=0, timeout=timeout), JUDGE)
        try:
            await client.ask([{"role": "user", "content": "?"}], ReplyForm("any", {}, lambda reply, redacted: reply))
        finally:
            await client.close()

    # A thread of its own: a browser of other tests leaves an event loop running in this one.
    with ThreadPoolExecutor(1) as pool, pytest.raises(RequestFailedError) as raised:
        pool.submit(asyncio.run, ask()).result()
    return str(raised.value)


def test_an_answer_that_does_not_stop_is_left() -> None:
    def endless(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(HEAD + b"\r\n")  # as long as the connection lasts
        while not stop.is_set():
            connection.sendall(b" " * 2**16)

    with serving(endless) as url:
        assert "the answer is larger than 16,777,216 bytes; the rest is not read" in failure(url, 60)


@pytest.mark.parametrize("slow", ["body", "headers"])
def test_an_answer_that_drips_is_left(slow: str) -> None:
    def drip(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(HEAD + (b"Content-Length: 1000000\r\n\r\n" if slow == "body" else b"X-Slow: "))
        while not stop.wait(0.05):  # each read is answered long before it times out
            connection.sendall(b" ")

    with serving(drip) as url:
        assert "timed out" in failure(url, 0.5)


def test_an_answer_that_is_compressed_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 2**26)

    def send(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode() + bomb)
        stop.wait()

    with serving(send) as url:
        assert "compressed ('gzip'), though that was not asked for" in failure(url, 60)
