"""Errors of the Hub: which to retry, after how long, and how to report them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import httpx2
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

from asr_data.errors import AsrDataError
from asr_data.redact import Redactor

LONGEST_WAIT: Final = 300.0
"""Seconds. The Hub limits requests per five minutes; a longer wait that it asks for is an error."""

_FIRST_WAIT: Final = 1.0
_LONGEST_BACK_OFF: Final = 30.0
_REFUSED: Final = (409, 412, 429)
"""Another operation is in progress; the parent commit is no longer the head; too many requests."""
_TRANSIENT: Final = (408, *_REFUSED, 500, 502, 503, 504)
_QUERY: Final = re.compile(r"(https?://[^\s?#]+)[?#][^\s'\">)]*")
"""A URL with a query, which may be a signature."""
_SPENT: Final = re.compile(r";\s*r=0\s*;\s*t=(\d+)")
"""``RateLimit: "api";r=0;t=55``: no requests left for 55 seconds."""


class HubError(AsrDataError):
    """The Hub is unreachable, rejected a request, or contains files that must not be overwritten."""


def is_unreachable(error: BaseException) -> bool:
    """Return whether no server answered."""
    return _is_offline(error) or any(isinstance(cause, httpx2.TransportError) for cause in _causes(error))


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
    if _is_offline(error):
        return False
    status = _status(error)
    if status is not None:
        return status in _TRANSIENT
    # A transport error, or an error page instead of JSON.
    kinds = (httpx2.TransportError, ConnectionError, TimeoutError, json.JSONDecodeError)
    causes = [*_causes(error)]
    # hf_xet raises a plain RuntimeError for everything that its own retries could not fix.
    return any(isinstance(cause, kinds) for cause in causes) or type(causes[-1]) is RuntimeError


def may_have_landed(error: BaseException) -> bool:
    """Return whether a commit may have been made although the request failed: the answer was lost, or was a 5xx."""
    request = next((found for cause in _causes(error) if (found := _request(cause)) is not None), None)
    if request is not None and "/commit/" not in request.url.path:
        return False
    status = _status(error)
    return is_transient(error) and status not in _REFUSED


def seconds_to_wait(error: BaseException, tries: int) -> float | None:
    """Seconds to wait before the next try, or None to give up.

    Doubles from 1 s up to 30 s, unless the Hub asks for another wait (``Retry-After``, ``RateLimit``).

    Args:
        error: that ended the last try.
        tries: number of tries so far, at least 1.
    """
    if not is_transient(error):
        return None
    asked = _asked_wait(error)
    if asked is not None:
        return asked if asked <= LONGEST_WAIT else None
    return float(min(_FIRST_WAIT * 2 ** (tries - 1), _LONGEST_BACK_OFF))


def explained(error: Exception, repo_id: str) -> HubError | None:
    """The error as a HubError, or None if it is not about the Hub. Queries of URLs are removed: they may be signed."""
    if _is_offline(error):
        return HubError(f"{repo_id}: the Hub cannot be reached because HF_HUB_OFFLINE is set")
    if type(error) is ValueError:  # raised by huggingface_hub: invalid card metadata, or rejected by the LFS server
        return HubError(f"{repo_id}: {error}")
    failed = next((cause for cause in _causes(error) if isinstance(cause, HfHubHTTPError)), None)
    if failed is None:
        return _explained_without_answer(error, repo_id)
    says = f" The Hub's message: {failed.server_message}" if failed.server_message else ""
    if isinstance(failed, GatedRepoError):
        return HubError(f"{repo_id}: the repository is gated: request access on its page first.{says}")
    status = failed.response.status_code
    if status == 401:
        return HubError(
            f"{repo_id}: writing needs a valid token: run `hf auth login`, or set HF_TOKEN to a token with write "
            f"access.{says}"
        )
    if status == 403:
        return HubError(
            f"{repo_id}: this token lacks the permission: log in (`hf auth login`, or HF_TOKEN) with a token that "
            f"can write to {repo_id.partition('/')[0]}.{says}"
        )
    if status == 404:
        return HubError(f"{repo_id}: {_request_text(failed)}not found, or not visible with this token.{says}")
    return HubError(f"{repo_id}: {_request_text(failed)}status {status}.{says}")


def redacted_error(error: HubError, redacted: Redactor) -> HubError:
    """The error without secrets; its causes, which quote the server, become notes that only a traceback shows."""
    clean = HubError(redacted(str(error)))
    for cause in [*_causes(error)][1:]:
        clean.add_note(redacted(_QUERY.sub(r"\1", f"cause: {type(cause).__name__}: {cause}")))
    return clean


def _explained_without_answer(error: Exception, repo_id: str) -> HubError | None:
    if not is_transient(error):
        return None
    known = next((cause for cause in _causes(error) if _request(cause) is not None), error)
    return HubError(f"{repo_id}: {_request_text(known)}{str(known) or type(known).__name__}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_offline(error: BaseException) -> bool:
    return any(isinstance(cause, OfflineModeIsEnabled) for cause in _causes(error))


def _status(error: BaseException) -> int | None:
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            return cause.response.status_code
    return None


def _request(error: BaseException) -> httpx2.Request | None:
    if isinstance(error, HfHubHTTPError):
        return error.response.request  # its own attribute is lost in its constructor
    if not isinstance(error, httpx2.HTTPError):
        return None
    try:
        return error.request
    except RuntimeError:  # httpx: none was set
        return None


def _request_text(error: BaseException) -> str:
    request = _request(error)
    return "" if request is None else f"{request.method} {request.url.copy_with(query=None, userinfo=b'')}: "


def _asked_wait(error: BaseException) -> float | None:
    """The wait that the server asks for, in seconds."""
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            headers = cause.response.headers
            after = headers.get("Retry-After", "").strip()
            if after.isdigit():
                return float(after)
            spent = _SPENT.search(headers.get("RateLimit", ""))
            if spent is not None and cause.response.status_code == 429:
                return float(spent.group(1))
    return None
