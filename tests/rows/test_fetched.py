"""Standard input and URLs; a server on loopback stands for what is elsewhere."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from asr_data.errors import ConfigError, InputError
from asr_data.rows import fetched, open_source
from asr_data.rows.fetched import hub_dataset, is_url

LINES = b'{"prompt": "q", "chosen": "a", "rejected": "b"}\n' * 3


@pytest.fixture(autouse=True)
def _no_copies_left() -> Iterator[None]:
    yield
    fetched.remove_copies()


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LINES)))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of this folder; its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


@pytest.mark.usefixtures("piped")
def test_standard_input_is_read_as_often_as_needed() -> None:
    source = open_source("-", file_format="jsonl")
    assert (source.description, source.rows) == ("standard input", 3)
    assert [*source.batches(9)] == [*source.batches(9)]
    assert source.fingerprint_now() == source.fingerprint


def test_standard_input_has_the_fingerprint_of_the_file(tmp_path: Path, piped: None) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    assert open_source("-", file_format="jsonl").fingerprint == open_source(tmp_path / "a.jsonl").fingerprint


@pytest.mark.usefixtures("piped")
def test_the_copy_is_gone_at_the_end() -> None:
    source = open_source("-", file_format="jsonl")
    [(path, _)] = source.files
    assert path.parent.stat().st_mode & 0o077 == 0  # nobody else may read it
    fetched.remove_copies()
    assert not path.parent.exists()


@pytest.mark.usefixtures("piped")
def test_standard_input_needs_a_format() -> None:
    with pytest.raises(ConfigError, match="say what it holds, as in --format jsonl"):
        open_source("-")


def test_a_terminal_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(InputError, match="pipe a file into the command"):
        open_source("-", file_format="jsonl")


def test_a_url_is_read(tmp_path: Path, server: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    source = open_source(f"{server}/a.jsonl?token=verysecret")
    assert (source.description, source.rows) == (f"{server}/a.jsonl", 3)
    assert open_source(f"{server}/a.jsonl", file_format="jsonl").fingerprint == source.fingerprint


def test_any_protocol_of_fsspec() -> None:
    with fsspec.open("memory://bucket/a.jsonl", "wb") as file:
        file.write(LINES)
    assert open_source("memory://bucket/a.jsonl").rows == 3


def test_a_failure_shows_no_secret(server: str) -> None:
    url = f"{server.replace('//', '//me:passw0rd@')}/absent.jsonl?token=verysecret"
    with pytest.raises(InputError, match=r"absent\.jsonl: cannot be read: HTTPStatusError") as failure:
        open_source(url)
    assert "passw0rd" not in str(failure.value)
    assert "verysecret" not in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("url", "options", "error", "message"),
    [
        ("nosuch://host/a.jsonl", {}, InputError, "nosuch"),
        ("memory://a.txt", {}, InputError, "--format says what the file holds"),
        ("memory://a.jsonl", {"split": "train"}, InputError, "--split, --name and --revision are for"),
        ("hf://datasets/a/b@main", {"revision": "main"}, ConfigError, "names a revision, and so does"),
    ],
)
def test_urls_that_cannot_be_read(url: str, options: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_source(url, **options)


def test_what_is_a_url() -> None:
    assert all(map(is_url, ("s3://b/a.jsonl", "zip://a.csv::https://h/x.zip", "hf://datasets/a/b")))
    assert not any(map(is_url, ("owner/name", "a.jsonl", "./s3:/b", "folder/a:b")))


def test_a_data_set_on_the_hub_by_url() -> None:
    assert hub_dataset("hf://datasets/owner/name") == ("owner/name", None)
    assert hub_dataset("hf://datasets/owner/name@v1") == ("owner/name", "v1")
    assert hub_dataset("hf://datasets/owner/name/train.parquet") is None
