"""A judge over real HTTP on loopback: verdicts by a rule, faults to order."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOW = {"retry-after-ms": "1"}
"""Asks the client to try again at once, so that tests need not wait."""
TOKENS_IN, TOKENS_OUT = 100, 10


@dataclass(frozen=True)
class Asked:
    """One request: its body, and what stood between the marks."""

    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def text(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])

    def part(self, title: str) -> str | None:
        found = re.search(rf"^\[(\w+) BEGIN {title}\]\n(.*?)\n\[\1 END {title}\]$", self.text, re.DOTALL | re.MULTILINE)
        return None if found is None else found.group(2)

    @property
    def answers(self) -> tuple[str, str]:
        if (
            found := re.search(r"^\[Answer A\]\n(.*?)\n\[Answer B\]\n(.*?)\n\[End\]", self.text, re.S | re.M)
        ) is not None:
            return found.group(1), found.group(2)  # a template of the tests and of docs/judge.md
        first, second = self.part("ANSWER A"), self.part("ANSWER B")
        assert first is not None
        assert second is not None
        return first, second


Rule = Callable[[Asked], str]


def saying(verdict: str, **more: str) -> str:
    return json.dumps({"reason": "because", "verdict": verdict, **more})


def by_goodness(asked: Asked) -> str:
    """The answer with more exclamation marks is better."""
    first, second = (answer.count("!") for answer in asked.answers)
    verdict = "A" if first > second else "B" if second > first else "tie"
    return saying(verdict, safety="tie", accuracy=verdict, helpfulness=verdict)


@dataclass(frozen=True)
class Status:
    """An error instead of a verdict."""

    code: int
    message: str = "no"
    headers: dict[str, str] = field(default_factory=lambda: dict(NOW))


@dataclass(frozen=True)
class Reply:
    """This text in place of the rule's."""

    content: str
    finish_reason: str = "stop"


@dataclass(frozen=True)
class Raw:
    """These bytes as the whole answer."""

    content: bytes
    kind: str = "application/json"


HANG = "hang"
DROP = "drop"
Fault = Status | Reply | Raw | str | None


class JudgeServer:
    """Answers ``/v1/chat/completions``.

    Attributes:
        rule: request to the text of the reply.
        faults: what the next requests meet, in order; None is no fault.
        always: what every request meets after that.
        asked: every request so far.
        on_request: called with the number of requests so far, before the answer.
    """

    def __init__(self, rule: Rule = by_goodness) -> None:
        self.rule = rule
        self.faults: deque[Fault] = deque()
        self.always: Fault = None
        self.asked: list[Asked] = []
        self.on_request: Callable[[int], None] = lambda number: None
        self.busiest = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that are killed
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> JudgeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_fault(self, asked: Asked) -> Fault:
        with self._lock:
            self.asked.append(asked)
            self.on_request(len(self.asked))
            return self.faults.popleft() if self.faults else self.always

    def enter(self) -> None:
        with self._lock:
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)

    def leave(self) -> None:
        with self._lock:
            self._busy -= 1


def _handler(server: JudgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions"
            server.enter()
            try:
                self._answer(Asked(body, {name.lower(): value for name, value in self.headers.items()}))
            finally:
                server.leave()

        def _answer(self, asked: Asked) -> None:
            fault = server.next_fault(asked)
            match fault:
                case Status(code, message, headers):
                    self._send(code, json.dumps({"error": {"message": message}}).encode(), headers)
                case Raw(content, kind):
                    self._send(200, content, {}, kind)
                case Reply(content, reason):
                    self._complete(asked, content, reason)
                case "hang":
                    time.sleep(0.5)
                    self.close_connection = True
                case "drop":
                    self.close_connection = True
                case _:
                    self._complete(asked, server.rule(asked), "stop")

        def _complete(self, asked: Asked, content: str, reason: str) -> None:
            message = {"role": "assistant", "content": content}
            done = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": asked.model,
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {
                    "prompt_tokens": TOKENS_IN,
                    "completion_tokens": TOKENS_OUT,
                    "total_tokens": TOKENS_IN + TOKENS_OUT,
                },
            }
            self._send(200, json.dumps(done).encode(), {})

        def _send(self, code: int, body: bytes, headers: dict[str, str], kind: str = "application/json") -> None:
            self.send_response(code)
            for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Silent."""

    return Handler
