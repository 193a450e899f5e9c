"""Base URLs of APIs, as users give them."""

from __future__ import annotations

from urllib.parse import urlsplit


def checked_address(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        ValueError: it is none, or holds a secret.
    """
    parts = urlsplit(url)
    _ = parts.port  # a ValueError where it is none
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ValueError("an endpoint is a URL such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an endpoint has no user, password, query or fragment, since it is written to the output")
    return url.rstrip("/")
