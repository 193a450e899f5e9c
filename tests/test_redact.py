"""Secrets in text: every spelling is found, and ordinary text stays as it is."""

from __future__ import annotations

import pytest

from asr_data.redact import Redactor, proxy_secrets, url_secrets, without_secrets, without_url_secrets


@pytest.mark.parametrize(
    ("secret", "text", "clean"),
    [
        ("sk-secret-key", "xsk-secret-keyx", "x***x"),
        ("sk-secret-key", "Basic c2stc2VjcmV0LWtleQ==", "Basic ***=="),
        ("a/b+c d&e", "key=a%2Fb%2Bc+d%26e, key=a%2Fb%2Bc%20d%26e", "key=***, key=***"),
        ('quo"ted\\key', r'{"k": "quo\"ted\\key"}', '{"k": "***"}'),
        ("s3cret", "s3cret s3crets", "*** s3crets"),
        ("abc", "abc", "abc"),
        ("", "text", "text"),
        ("a.c+defgh", "abc+defgh", "abc+defgh"),
    ],
)
def test_spellings(secret: str, text: str, clean: str) -> None:
    assert Redactor([secret])(text) == clean


def test_the_longer_secret_is_taken_first() -> None:
    assert Redactor(["secret-key", "secret-key-long"])("secret-key-long, secret-key") == "***, ***"


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("http://host/", set()),
        ("http://user:p%40ss@host", {"p%40ss", "p@ss", "dXNlcjpwQHNz"}),
        ("http://token@host", {"token", "dG9rZW46"}),
        ("http://[", set()),
    ],
)
def test_secrets_of_a_url(url: str, secrets: set[str]) -> None:
    assert set(url_secrets(url)) == secrets


def test_secrets_of_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "http://u:passw@h", "no": "localhost"})
    assert set(proxy_secrets()) == {"passw", "dTpwYXNzdw=="}


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://user:password@host:1/a/b?key=1#f", "https://host:1/a/b"),
        ("/a?b", "/a"),
        ("", ""),
        ("http://[", "an invalid URL"),
        ("zip://a.csv::https://me:key@h/x.zip?sig=1#f", "zip://a.csv::https://h/x.zip"),
        ("http://me:key@[::1]:80/a?b", "http://[::1]:80/a"),
    ],
)
def test_a_url_without_secrets(url: str, clean: str) -> None:
    assert without_secrets(url) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("no URL: a@b?c#d", "no URL: a@b?c#d"),
        ("see https://docs.pola.rs/a, twice", "see https://docs.pola.rs/a, twice"),
        ("'https://u:pw@h/x?sig=1' is bad", "'https://h/x' is bad"),
        ("reference=HTTP://key@h:1/v1 and s3://k:s@b/o?v", "reference=http://h:1/v1 and s3://b/o"),
        ("hf://datasets/a/b@main/c.parquet", "hf://datasets/a/b@main/c.parquet"),
    ],
)
def test_urls_in_a_text_lose_their_secrets(text: str, clean: str) -> None:
    assert without_url_secrets(text) == clean
