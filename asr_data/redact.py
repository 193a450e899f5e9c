"""Removes secrets from text that is shown or written: servers echo keys, and libraries quote URLs with passwords."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK: Final = "***"

_SHORTEST: Final = 4
"""Shorter values, such as ``x``, are placeholders for servers without keys; masking them would damage ordinary text."""
_ANYWHERE: Final = 8
"""Secrets from this length on are masked inside of words, too."""


_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>`]+", re.IGNORECASE)
_TELLING: Final = re.compile("[@?#]")
_CHAIN: Final = re.compile(r"::(?![^\[\]]*\])")
"""Two colons, but not those of an IPv6 address in brackets."""


class Redactor:
    """Replaces secrets in text, also where they are quoted for JSON or a URL, or encoded in base64.

    Args:
        secrets: keys, tokens and passwords; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        patterns = [
            re.escape(form) if len(form) >= _ANYWHERE else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=len, reverse=True)
        ]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def __call__(self, text: str) -> str:
        """The text with every secret replaced by ``***``."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def url_secrets(url: str) -> Iterator[str]:
    """The password in a URL, or a user name without one, and both as an Authorization header has them."""
    try:
        parts = urlsplit(url)
        user, password = parts.username or "", parts.password or ""
    except ValueError:
        return
    secret = password or user
    if secret:
        yield from {secret, unquote(secret)}
        yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def proxy_secrets() -> Iterator[str]:
    """The secrets in the URLs of proxies that the environment names."""
    from urllib.request import getproxies  # brings the modules of HTTP and of mail

    for url in getproxies().values():
        yield from url_secrets(url)


def url_chain(url: str) -> list[str]:
    """The URLs of a chain as fsspec has them, ``zip://a.jsonl::https://host/b.zip``; mostly one."""
    return _CHAIN.split(url)


def without_secrets(url: str) -> str:
    """A URL, or a chain of them, without users, passwords, queries and fragments: signatures and keys stand there."""
    return "::".join(map(_bare, url_chain(url)))


def without_url_secrets(text: str) -> str:
    """The same for every URL in a text; all else stays as it is."""
    return _URL.sub(lambda found: without_secrets(found[0]) if _TELLING.search(found[0]) else found[0], text)


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an invalid URL"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode().rstrip("=")
