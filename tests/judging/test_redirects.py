"""A judge that points elsewhere: nothing is sent there, whatever the status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asr_data.errors import JudgeError
from asr_data.judging import RequestSettings
from tests.judging.conftest import KEY, Ask
from tests.judging.server import JudgeServer, Status

ONCE = RequestSettings(concurrency=1, retries=2, attempts=2, timeout=10)


@pytest.fixture
def elsewhere() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
@pytest.mark.parametrize("first", [0, 3], ids=["at once", "after three verdicts"])
def test_a_redirect_is_an_error_that_names_its_target(
    status: int, first: int, ask: Ask, server: JudgeServer, elsewhere: JudgeServer
) -> None:
    target = f"{elsewhere.url}/chat/completions"
    server.faults.extend([None] * first)
    server.always = Status(status, headers={"Location": target})
    with pytest.raises(JudgeError, match=rf"answers with a redirect \({status}\) to {target}\. Redirects are not"):
        ask(requests=ONCE)
    assert len(server.asked) == first + 1
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/v2/chat/completions", r"to /v2/chat/completions\."),
        ("//127.0.0.1:9/v1", r"to //127\.0\.0\.1:9/v1\."),
        (f"http://user:{KEY}@127.0.0.1:9/v1?key={KEY}#{KEY}", r"to http://127\.0\.0\.1:9/v1\."),
        (f"http://127.0.0.1:9/{KEY}/v1", r"to http://127\.0\.0\.1:9/\*\*\*/v1\."),
        ("http://[", r"to an invalid URL\."),
        ("", r"to no address\."),
        (None, r"to no address\."),
    ],
)
def test_the_target_is_shown_without_secrets(location: str | None, shown: str, ask: Ask, server: JudgeServer) -> None:
    server.always = Status(307, headers={} if location is None else {"Location": location})
    with pytest.raises(JudgeError, match=shown) as caught:
        ask(requests=ONCE)
    assert KEY not in str(caught.value)


def test_a_retry_that_the_server_asks_for_goes_to_the_same_place(
    ask: Ask, server: JudgeServer, elsewhere: JudgeServer
) -> None:
    headers = {"Location": elsewhere.url, "x-should-retry": "true", "retry-after-ms": "1"}
    server.always = Status(308, headers=headers)
    with pytest.raises(JudgeError, match="redirect"):
        ask(requests=ONCE)
    assert (len(server.asked), elsewhere.asked) == (1 + ONCE.retries, [])
