"""Inputs that are no files here, standard input and URLs, as copies that live as long as the process.

An input is read several times and its content is hashed, which a stream does not allow. Nothing is fetched but the URL
that the user typed.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from asr_data.errors import ConfigError, InputError
from asr_data.redact import Redactor, url_chain, url_secrets, without_secrets
from asr_data.rows.file_formats import FileFormat, format_of_name

STANDARD_INPUT: Final = "-"
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://|[a-z][a-z0-9+.-]*::", re.IGNORECASE)
_HUB_DATASET: Final = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/?")
_PATIENCE: Final = 60.0
"""Seconds without a byte after which a server is given up."""
_COPIES: list[tempfile.TemporaryDirectory[str]] = []


def is_url(location: str) -> bool:
    """Whether it is a URL, such as ``s3://bucket/pairs.parquet``, or a chain of them."""
    return _URL.match(location) is not None


def hub_dataset(url: str) -> tuple[str, str | None] | None:
    """``owner/name`` and revision of ``hf://datasets/owner/name@revision``; None for any other URL."""
    found = _HUB_DATASET.fullmatch(url)
    return None if found is None else (found[1], found[2])


def copy_of_standard_input(file_format: FileFormat) -> Path:
    """Everything that comes through standard input, as a file.

    Raises:
        InputError: nothing is piped into it, or it cannot be copied.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("- reads standard input, which is a terminal here: pipe a file into the command")
    path = _new_file(f"standard-input{_suffix(file_format)}")
    _copy(sys.stdin.buffer, path, "standard input")
    return path


def copy_of_url(url: str, file_format: FileFormat | None) -> tuple[Path, FileFormat]:
    """What stands at a URL, as a file, and what it holds.

    Args:
        url: of one file, as fsspec understands it.
        file_format: what the file holds; None where its name says so.

    Raises:
        ConfigError: the package for this kind of URL is not installed.
        InputError: it cannot be fetched, or its name does not say what it holds.
    """
    name = urlsplit(url_chain(url)[0]).path.rpartition("/")[2]
    found = file_format or format_of_name(name)
    if found is None:
        raise InputError(
            f"{without_secrets(url)}: the name does not end in a known suffix: --format says what the file holds"
        )
    path = _new_file(f"fetched{_suffix(found)}")
    try:
        _fetch(url, path)
    except ImportError as error:  # fsspec's own words name the package
        raise ConfigError(
            f"{without_secrets(url)} cannot be read without another package: {_said(error, url)}"
        ) from error
    except InputError:
        raise
    except Exception as error:  # every protocol raises its own
        raise InputError(f"{without_secrets(url)}: cannot be read: {_said(error, url)}") from error
    return path, found


def remove_copies() -> None:
    """Remove all copies at once, for a process that ends without the interpreter's own clearing up."""
    while _COPIES:
        _COPIES.pop().cleanup()


def _new_file(name: str) -> Path:
    directory = tempfile.TemporaryDirectory(prefix="asr-data-input-")  # removed when the interpreter ends
    _COPIES.append(directory)
    return Path(directory.name) / name


def _fetch(url: str, path: Path) -> None:
    """Over HTTP by the client that is there anyway, otherwise by whatever fsspec has for the protocol."""
    if url.lower().startswith(("http://", "https://")) and "::" not in url:
        import httpx2

        with httpx2.stream("GET", url, follow_redirects=True, timeout=_PATIENCE) as response, path.open("xb") as file:
            response.raise_for_status()
            for chunk in response.iter_bytes(1 << 20):
                file.write(chunk)
        return
    import fsspec

    with fsspec.open(url, "rb") as stream:
        _copy(stream, path, without_secrets(url))


def _copy(stream: IO[Any], path: Path, place: str) -> None:
    try:
        with path.open("xb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
    except OSError as error:
        raise InputError(f"{place}: cannot be copied to {path}: {_said(error, place)}") from error


def _suffix(file_format: FileFormat) -> str:
    return "".join(f".{part}" for part in (file_format.kind, file_format.compression) if part)


def _said(error: Exception, url: str) -> str:
    """An error's words on one line, without what is secret in the URL."""
    said = " ".join(f"{type(error).__name__}: {error}".split()).replace(url, without_secrets(url))
    parts = url_chain(url)
    queries = [value for part in parts for value in re.split("[?&#]", part)[1:]]
    return Redactor([*(secret for part in parts for secret in url_secrets(part)), *queries])(said)
