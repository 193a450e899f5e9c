"""Settings of judges, and which files say who judges."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from asr_data.endpoints.client import Client
from asr_data.errors import ConfigError, MissingDependencyError
from asr_data.judging import Judge, RequestSettings, load_judges
from asr_data.judging.config import JUDGE


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("localhost:8000/v1", "an endpoint is a URL such as"),
        ("ftp://host/v1", "an endpoint is a URL such as"),
        ("https://user:secret@host/v1", "no user, password, query or fragment"),
        ("https://host/v1?api_key=secret", "no user, password, query or fragment"),
    ],
)
def test_an_endpoint_holds_no_secret(endpoint: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Judge(model="m", endpoint=endpoint)


def test_judges_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "judges.json"
    path.write_text(json.dumps([{"model": "m", "endpoint": "http://h/v1/", "name": "one"}]))
    (judge,) = load_judges(path)
    assert (judge.endpoint, judge.title) == ("http://h/v1", "one")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "at least 1 item"),
        ("{", "Invalid JSON"),
        ('[{"model": "m"}]', r"0\.endpoint: Field required"),
        ('[{"model": "m", "endpoint": "http://h/v1", "api_key": "secret"}]', r"0\.api_key: Extra inputs"),
        ('[{"model": "m", "endpoint": "http://h/v1", "key_variable": "sk-secret!"}]', r"0\.key_variable: "),
    ],
)
def test_a_wrong_file_says_where_and_repeats_no_value(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "judges.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        load_judges(path)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_judges(tmp_path / "missing.json")


def test_a_missing_client_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingDependencyError, match=r"'openai'.*pip install 'asr-data\[judge\]'"):
        Client(Judge(model="m", endpoint="http://h/v1"), RequestSettings(), JUDGE)
