"""Dequantised decoders and their tokenizers in the user's cache directory, so that only the first run makes them.

An entry is a folder under ``$XDG_CACHE_HOME/asr-data/models`` (``~/.cache`` by default), named by a hash over what it
was made from: the source files, the number format and the versions of the libraries. ``entry.json`` in it holds size
and sha256 of every file. It is written beside and renamed, so that it is there whole or not at all, and checked as it
is read; what is damaged is made anew. A cache that cannot be written is no error.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_ENTRY = "entry.json"
_FORMAT = 1
_MADE_BY = ("transformers", "tokenizers", "gguf", "peft", "torch", "safetensors")
_KEPT = 6
"""Entries; the oldest go first. One of the built-in model takes 270 MB in bfloat16."""


def cache_root() -> Path:
    """Where entries are kept."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The specification: a path that is not absolute is to be ignored.
    base = Path(named) if Path(named).is_absolute() else Path("~/.cache").expanduser()
    return base / "asr-data" / "models"


def entry_key(files: list[Path], settings: dict[str, Any]) -> str:
    """The name of an entry: a hash over what it is made from."""
    made_by = {name: _version(name) for name in _MADE_BY}
    sources = [file_sha256(path).hex() for path in files]
    described = {"format": _FORMAT, "sources": sources, "settings": settings, "made by": made_by}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def find_entry(key: str) -> Path | None:
    """The folder of an entry, every file of it checked; None where there is none, or a damaged one."""
    folder = cache_root() / key
    try:
        recorded = json.loads((folder / _ENTRY).read_text(encoding="utf-8"))
        for name, (size, digest) in recorded.items():
            path = folder / name
            if path.stat().st_size != size or file_sha256(path).hex() != digest:
                raise ValueError(f"{name} is not what was written")
    except (FileNotFoundError, NotADirectoryError):
        if not folder.is_dir():
            return None
        logger.warning("%s: the cached model is incomplete; it is rebuilt", folder)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("%s: the cached model is damaged (%s); it is rebuilt", folder, error)
    else:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    return None


def keep_entry(key: str, write: Callable[[Path], None]) -> Path | None:
    """Keep what ``write`` puts into the folder that it is given; where that fails there is no entry, and no error.

    Returns:
        The entry's folder.
    """
    root = cache_root()
    partial: str | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        partial = tempfile.mkdtemp(prefix=".partial-", dir=root)
        folder = Path(partial)
        write(folder)
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        recorded = {path.name: [path.stat().st_size, file_sha256(path).hex()] for path in files}
        (folder / _ENTRY).write_text(json.dumps(recorded), encoding="utf-8")
        for path in (*files, folder / _ENTRY):
            _sync(path)
        folder.rename(root / key)
        _prune(root, key)
        return root / key
    except OSError as error:  # read-only, full, or another process was first
        logger.info("%s: nothing is cached: %s", root, error)
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return None


def was_found(folder: Path, fact: dict[str, Any]) -> bool:
    """Whether :func:`remember` was told this fact of an entry's model."""
    return (folder / _fact_name(fact)).is_file()


def remember(folder: Path, fact: dict[str, Any]) -> None:
    """Keep what was found out about an entry's model, as long as the entry is kept. No error where that fails."""
    try:
        (folder / _fact_name(fact)).touch()
    except OSError as error:
        logger.info("%s: nothing is remembered: %s", folder, error)


def _fact_name(fact: dict[str, Any]) -> str:
    return f"found-{hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).hexdigest()[:32]}"


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _prune(root: Path, newest: str) -> None:
    entries = [path for path in root.iterdir() if (path / _ENTRY).is_file() and path.name != newest]
    for path in sorted(entries, key=lambda path: path.stat().st_mtime)[: -(_KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)


def file_sha256(path: Path) -> bytes:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
