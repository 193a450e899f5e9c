"""Who is let in. Each refusal differs from a request that is answered in one thing alone."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from asr_data.view.server.security import is_loopback, new_token


@pytest.fixture
def served(annotate: Any, serve: Any) -> Any:
    return serve(annotate())


def test_the_page_and_its_questions_are_answered(served: Any) -> None:
    status, headers, content = served.send("GET", f"/?token={served.token}", headers={"Authorization": None})
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"asr-data view" in content
    assert served.ask("rows")["total"] == 4
    for host in ("localhost", "LOCALHOST:9", "[::1]:7"):
        assert served.send("GET", f"/?token={served.token}", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "10.0.0.7",
        "",
        "localhost@evil.example:1",
        "[::1",
        "a]",
        "[x]:1",
    ],
)
def test_a_foreign_name_for_this_machine(served: Any, host: str) -> None:
    status, _, content = served.send("GET", f"/?token={served.token}", headers={"Host": host})
    assert status == 421
    assert b"not called by that name" in content


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_foreign_page(served: Any, headers: dict[str, str]) -> None:
    for method, path, body in (("GET", f"/?token={served.token}", None), ("POST", "/api/rows", b"{}")):
        assert served.send(method, path, body, headers)[0] == 403


def test_the_address_can_be_followed_from_a_terminal_that_is_a_page(served: Any) -> None:
    follow = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    address = f"/?token={served.token}"
    assert served.send("GET", address, headers=follow)[0] == 200
    assert served.send("GET", "/?token=wrong", headers=follow)[0] == 403
    assert served.send("GET", address, headers={**follow, "Sec-Fetch-Dest": "iframe"})[0] == 403
    assert served.send("GET", address, headers={**follow, "Sec-Fetch-Mode": "no-cors"})[0] == 403
    assert served.send("GET", f"/charts.js?token={served.token}", headers=follow)[0] == 403
    assert served.send("POST", "/api/rows", b"{}", follow)[0] == 403


def test_our_own_page(served: Any) -> None:
    own = {"Origin": f"http://127.0.0.1:{served.port}", "Sec-Fetch-Site": "same-origin"}
    assert served.send("POST", "/api/rows", b"{}", own)[0] == 200


@pytest.mark.parametrize("given", [None, "Bearer ", "Bearer wrong", "Basic correct-horse", "correct-horse", "Bearer é"])
def test_a_question_without_the_token(served: Any, given: str | None) -> None:
    assert served.send("POST", "/api/rows", b"{}", {"Authorization": given})[0] == 403
    assert served.send("POST", f"/api/rows?token={served.token}", b"{}", {"Authorization": given})[0] == 403


@pytest.mark.parametrize(
    "query", ["", "?token=", "?token=wrong", "?token=correct-horse&token=wrong", "?Token=correct-horse"]
)
def test_the_page_without_the_token(served: Any, query: str) -> None:
    status, headers, content = served.send("GET", f"/{query}")
    assert status == 403
    assert b"open the address that the server printed" in content
    assert "text/html" not in headers["Content-Type"]


def test_a_form_of_another_page_cannot_ask(served: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        assert served.send("POST", "/api/rows", b"{}", {"Content-Type": kind})[0] == 415


def test_requests_are_bounded(served: Any) -> None:
    assert served.send("POST", "/api/rows", b"", {"Content-Length": "1000001"})[0] == 413
    assert served.send("POST", "/api/rows", b"", {"Content-Length": "1_0"})[0] in (400, 413)


def test_the_script_that_draws_charts_needs_the_token_too(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr_data.view.server.charts.made_elsewhere", lambda: "drawn();")
    assert served.send("GET", "/charts.js")[0] == 403
    assert served.send("GET", "/charts.js?token=wrong")[0] == 403
    assert served.send("GET", f"/charts.js?token={served.token}", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    status, headers, content = served.send("GET", f"/charts.js?token={served.token}")
    assert (status, headers["Content-Type"], content) == (200, "text/javascript; charset=utf-8", b"drawn();")


def test_every_answer_says_what_a_browser_may_do(served: Any) -> None:
    for method, path in (("GET", f"/?token={served.token}"), ("GET", "/"), ("GET", "/api/rows"), ("GET", "/nothing")):
        _, headers, _ = served.send(method, path)
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "Server" not in headers


def test_the_policy_has_the_hash_of_each_script_and_style_and_nothing_else(served: Any) -> None:
    _, headers, content = served.send("GET", f"/?token={served.token}")
    page = content.decode()
    allowed = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))

    def hashes(pattern: str) -> list[str]:
        texts = re.findall(pattern, page, flags=re.DOTALL)
        return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]

    assert allowed.pop("script-src").split() == ["'self'", *hashes(r"<script>(.*?)</script>")]
    assert allowed.pop("style-src").split() == hashes(r"<style>(.*?)</style>")
    assert allowed == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
    }
    assert not re.search(r"\s(?:style|on\w+)=", page.partition("<script>")[0].partition("</style>")[2])


def test_with_a_wildcard_address_numbers_are_names_of_ours(annotate: Any, serve: Any) -> None:
    served = serve(annotate(), hosts=["0.0.0.0", "Workstation.lan"])  # noqa: S104
    for host, status in (("192.168.1.4:8000", 200), ("workstation.lan", 200), ("evil.example", 421)):
        assert served.send("GET", f"/?token={served.token}", headers={"Host": host})[0] == status


def test_which_addresses_are_loopback() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(one) for one in ("0.0.0.0", "::", "192.168.1.4", "workstation")] == [False] * 4  # noqa: S104


def test_tokens_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert min(map(len, (new_token() for _ in range(100)))) >= 32
