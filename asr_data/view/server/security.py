"""Who may ask the server for anything: whoever knows the token, from a page of this server, on this machine.

Every page that the browser shows can send requests to a local server. Four things keep them out: the name in ``Host``
(a foreign name that resolves to this machine is refused), ``Origin`` and ``Sec-Fetch-Site`` (what a foreign page asks
is refused), the token (which a foreign page does not know), and the Content-Security-Policy, under which nothing but
our own scripts runs in our page.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
LARGEST_BODY: Final = 1_000_000
"""Bytes of a request."""

HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Lets a request through to ``app`` where it comes from whom it should.

    Args:
        app: what answers.
        token: in the addresses of the page and its charts (``?token=``), and in the header ``Authorization`` of what
            the page asks for.
        hosts: names that this server is called by, beside loopback; a number counts where one of them is a wildcard
            address (``0.0.0.0``), since a foreign page cannot take a number for its name.
        policy: the Content-Security-Policy of the page.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str], policy: str) -> None:
        self._app, self._token = app, token
        self._hosts = LOOPBACK | {host.lower().strip("[]") for host in hosts}
        self._any_number = any(_is_wildcard(host) for host in self._hosts)
        self._headers = (*HEADERS, (b"content-security-policy", policy.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # no sockets, and nothing to start or stop
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(send, *refusal, self._headers)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
            await send(message)

        await self._app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = scope["headers"]
        host = _only(headers, b"host")
        if host is None or not self._is_ours(host):
            return 421, "this server is not called by that name; open the address that it printed"
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        if any(origin.lower().partition("://")[2] != host.lower() for origin in origins):
            return 403, "the request comes from another page"
        if _only(headers, b"sec-fetch-site") not in (None, "same-origin", "none") and not _opens_a_page(scope):
            return 403, "the request comes from another page"
        if not self._is_known(scope):
            return 403, "the token is missing or wrong; open the address that the server printed, with its token"
        if scope["method"] == "POST":
            if (_only(headers, b"content-type") or "").partition(";")[0] != "application/json":
                return 415, "the request must be JSON"
            size = _only(headers, b"content-length")
            if size is None or not size.isascii() or not size.isdigit() or int(size) > LARGEST_BODY:
                return 413, f"a request must say its length, of at most {LARGEST_BODY:,} bytes"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:  # a bracket that is not closed
            return False
        return name in self._hosts or (self._any_number and _is_number(name))

    def _is_known(self, scope: Scope) -> bool:
        if scope["method"] == "GET":  # an address: it has no header of ours
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        else:
            scheme, _, value = (_only(scope["headers"], b"authorization") or "").partition(" ")
            given = [value if scheme == "Bearer" else ""]
        return len(given) == 1 and hmac.compare_digest(given[0].encode(), self._token.encode())


def _opens_a_page(scope: Scope) -> bool:
    """Whether somebody follows the address itself, as in a terminal that is a page; the token says who may.

    The page cannot be framed, and who opened it can neither read it nor reach into it.
    """
    mode, kind = (_only(scope["headers"], name) for name in (b"sec-fetch-mode", b"sec-fetch-dest"))
    return (scope["method"], scope["path"], mode, kind) == ("GET", "/", "navigate", "document")


def _only(headers: Collection[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The value of a header that occurs once; None where it does not, or more than once."""
    values = [value.decode("latin-1") for found, value in headers if found == name]
    return values[0] if len(values) == 1 else None


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_wildcard(name: str) -> bool:
    return _is_number(name) and ipaddress.ip_address(name).is_unspecified


async def _refuse(send: Send, status: int, message: str, headers: Collection[tuple[bytes, bytes]]) -> None:
    body = json.dumps({"error": message}).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
