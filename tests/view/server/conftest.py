"""A server on some annotated directories, asked over HTTP and by a browser."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from asr_data.storage import AnnotatedDirectory
from asr_data.text import Tokenizer
from asr_data.view.server.app import build_app
from asr_data.view.server.charts import made_elsewhere
from asr_data.view.server.directories import Viewed
from asr_data.view.server.serve import listen
from asr_data.view.server.serve import server as made_server
from asr_data.view.server.session import Session

TOKEN = "correct-horse"
DESKTOP = {"viewport": {"width": 1440, "height": 900}}


@dataclass
class Served:
    """A server that runs: where, on what, and how it is asked."""

    port: int
    session: Session
    token: str = TOKEN

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={TOKEN}"

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str | None] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """A request with these headers in place of the usual ones; None leaves one out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        usual = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {TOKEN}"}
        usual |= {"Content-Type": "application/json"} if body is not None else {}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**usual, **(headers or {})}.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None and "Content-Length" not in (headers or {}):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.msg, content

    def ask(self, path: str, question: Any = None, status: int = 200) -> Any:
        """The answer to a question as the page asks it."""
        found, _, content = self.send("POST", f"/api/{path}", json.dumps(question or {}).encode())
        assert found == status, content
        return json.loads(content)


@contextmanager
def running(session: Session, **options: Any) -> Iterator[Served]:
    with listen("127.0.0.1", 0) as opened:
        app = build_app(session, token=TOKEN, hosts=options.pop("hosts", ()))
        server = made_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Served(opened.getsockname()[1], session)
        server.should_exit = True
        thread.join()
        session.close()


Serve = Callable[..., Served]

charts_once = cache(made_elsewhere)
"""Another process takes seconds to make the charts' script; one does for all tests."""


@pytest.fixture
def serve(make_tokenizer: Callable[..., Tokenizer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """``serve(directory, …, **options)``: a server on annotated directories."""
    monkeypatch.setattr("asr_data.view.server.charts.made_elsewhere", charts_once)
    stack: list[Any] = []

    def start(*annotated: AnnotatedDirectory, gold: str | None = None, tokenizer: Any = None, **options: Any) -> Served:
        found = None if tokenizer == "later" else tokenizer or make_tokenizer()
        viewed: Sequence[Viewed] = [Viewed(one, one.path.name, found, gold) for one in annotated]
        server = running(Session(viewed, **options.pop("session", {})), **options)
        stack.append(server)
        return server.__enter__()

    yield start
    for server in stack:
        server.__exit__(None, None, None)


@pytest.fixture
def open_view(browser: Any) -> Iterator[Callable[..., Any]]:
    """``open_view(served, hash="", **context)``: the page in a browser, with its first rows.

    At the end nothing may have been written to its console, and nothing been asked of anybody but the server.
    """
    contexts: list[Any] = []
    messages: list[str] = []
    requested: list[str] = []
    origins: set[str] = set()

    def opened(served: Served, hash: str = "", **context: Any) -> Any:  # noqa: A002 - as the browser calls it
        contexts.append(browser.new_context(**{**DESKTOP, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: messages.append(f"error: {error}"))
        page.on("request", lambda request: requested.append(request.url))
        origins.add(f"http://127.0.0.1:{served.port}")
        page.goto(served.address + hash)
        page.wait_for_function("() => document.getElementById('count').textContent !== ''")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert messages == []
    assert {"/".join(url.split("/")[:3]) for url in requested} <= origins
