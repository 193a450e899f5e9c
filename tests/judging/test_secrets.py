"""Keys that a server repeats: not in messages, not in any file, not in tracebacks."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from asr_data.endpoints.client import Client
from asr_data.errors import ConfigError, JudgeError
from asr_data.judging import Judge, RequestSettings, load_judges
from asr_data.judging.config import JUDGE
from tests.judging.conftest import KEY, QUIET, ROWS, Ask
from tests.judging.server import Fault, JudgeServer, Raw, Reply, Status, saying

SECRET = 'sk-With/Slash+Plus "quote'
PROXY = "http://proxyuser:pr0xy%2Fs3cret@127.0.0.1:9"
ECHOES: list[Callable[[str], Fault]] = [
    lambda key: Status(401, f"wrong key {key}"),
    lambda key: Status(404, f"Authorization: Bearer {key}"),
    lambda key: Status(400, f"wrong key {key}"),
    lambda key: Status(500, f"wrong key {key}"),
    lambda key: Raw(json.dumps({"error": key}).encode()),
    lambda key: Raw(f"<html>{key}</html>".encode(), "text/html"),
    lambda key: Raw(b"HTTP/9.9 what?\r\n"),
    lambda key: Reply(f"You sent {key}."),
    lambda key: Reply(saying("A", reason=f"The key is {key}.")),
    lambda key: Reply(saying(key)),
    lambda key: Reply(json.dumps({"verdict": "A", "reason": "\\u0073" + key[1:]}).replace("\\\\", "\\")),
]


def forms(key: str) -> list[str]:
    return [key, quote(key, safe=""), json.dumps(key)[1:-1], base64.b64encode(key.encode()).decode().rstrip("=")]


def written(directory: Path) -> str:
    return "\n".join(path.read_bytes().decode("latin-1") for path in sorted(directory.rglob("*")) if path.is_file())


@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
@pytest.mark.parametrize("key", [KEY, SECRET], ids=["plain", "quoted"])
@pytest.mark.parametrize("on_failure", ["stop", "record"])
def test_a_key_that_is_repeated_is_nowhere(
    on_failure: str,
    key: str,
    echo: Callable[[str], Fault],
    ask: Ask,
    server: JudgeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server.always = echo(key)
    requests = RequestSettings(concurrency=1, retries=0, attempts=2, on_failure=on_failure)  # type: ignore[arg-type]
    said = ""
    try:
        ask(requests=requests)
    except JudgeError as error:
        said = "".join(traceback.format_exception(error))
    assert all(asked.headers["authorization"] == f"Bearer {key}" for asked in server.asked)
    found = said + written(tmp_path / "judged")
    assert [form for form in forms(key) if form in found] == []
    assert "***" in found or isinstance(server.always, Raw)


@pytest.mark.parametrize("form", forms(SECRET), ids=["plain", "URL", "JSON", "base64"])
def test_a_key_is_known_in_other_spellings(
    form: str, ask: Ask, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    server.always = Status(401, f"no: {form}")
    with pytest.raises(JudgeError, match=r"no: \*\*\*"):
        ask()


@pytest.mark.parametrize("placeholder", ["A", "x", "tie", "B"])
def test_a_placeholder_for_a_key_damages_no_reply(placeholder: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", placeholder)
    assert ask().figures.win_rate.value == 0.625


def test_a_short_key_is_masked_as_a_word(ask: Ask, server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    server.always = Status(401, "s3cret is wrong, s3crets are fine")
    with pytest.raises(JudgeError, match=r"\*\*\* is wrong, s3crets are fine"):
        ask()


def test_only_the_key_of_this_judge_is_sent(ask: Ask, server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-key")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Api-Key: another-key\nAuthorization: Bearer another-key")
    ask()
    allowed = {
        "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host",
        "user-agent",
    }  # fmt: skip
    assert {frozenset(asked.headers) for asked in server.asked} == {frozenset(allowed)}
    assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}


def test_the_password_of_a_proxy_is_not_shown(
    ask: Ask, server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    server.always = Reply(f"You came through {PROXY}, pr0xy/s3cret.")
    done = ask(ROWS[:1], requests=QUIET)
    found = written(done.path)
    assert "You came through http://proxyuser:***@127.0.0.1:9, ***." in found
    assert "s3cret" not in found


@pytest.mark.parametrize("proxy", ["ftp://user:proxypassword@127.0.0.1:9", "http://user:proxypassword@[", "http://"])
def test_a_proxy_that_cannot_be_used_is_one_error(proxy: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises((ConfigError, JudgeError), match="judge 'm' at http") as caught:
        ask(requests=RequestSettings(retries=0), more={"endpoint": "http://judge.invalid/v1"})
    assert "proxypassword" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", ["sk-Dummy\u00e9", "sk-Dum\nmy", "sk-\x00Dummy"])
def test_a_key_that_no_header_can_hold(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "\x00" in key:
        monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    else:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY: the key contains characters that an HTTP header") as caught:
        Client(Judge(model="m", endpoint="http://h/v1"), RequestSettings(), JUDGE)
    assert "Dum" not in str(caught.value)


def test_white_space_around_a_key_is_not_part_of_it(
    ask: Ask, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\r\n")
    ask()
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "text",
    [
        '[{"model": "m", "endpoint": "https://user:SECRET@h/v1"}]',
        '[{"model": "m", "endpoint": "https://h/v1", "api_key": "SECRET"}]',
        '[{"model": "m", "endpoint": "https://h/v1", "extra_body": {"a": [{"Api-Key": "SECRET"}]}}]',
        '[{"model": "m", "endpoint": "https://h/v1", "key_variable": "sk-SECRET"}]',
        '[{"model": "m", "key": "SECRET",]',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(text: str, tmp_path: Path) -> None:
    path = tmp_path / "judges.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_judges(path)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_settings_in_python_are_not_repeated_either() -> None:
    with pytest.raises(ConfigError, match=r"Judge\.endpoint is invalid: an endpoint has no user, password") as caught:
        Judge(model="m", endpoint="https://user:SECRET@h/v1")
    assert "SECRET" not in str(caught.value)


def test_a_key_in_place_of_its_variable_is_not_repeated() -> None:
    allowed = r"^Judge\.key_variable is invalid: expected text of the form \^\[A-Za-z_\]\[A-Za-z0-9_\]\*\$$"
    with pytest.raises(ConfigError, match=allowed):
        Judge(model="m", endpoint="https://h/v1", key_variable="sk-SECRET")
