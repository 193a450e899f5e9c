"""SHA-256 of model files without reading them again.

Hashing 15 GB takes as long as loading them. So the hash of a large file is remembered in the user's cache by path,
size, time of change, inode and device; and files of the Hub's cache are named by their hash already.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asr_data.errors import ScorerError
from asr_data.model_cache import cache_root, file_sha256

logger = logging.getLogger(__name__)

_LARGE: Final = 2**20
"""Bytes from which a hash is worth remembering."""
_SETTLED_NS: Final = 2 * 10**9
"""A file that changed less than this before it was hashed may change again without another time stamp."""
_KEPT: Final = 2000
"""Remembered hashes; the oldest go first."""
_NAME: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileHashes:
    """How hashes of model files are found.

    Attributes:
        remember: use and keep what is remembered in the user's cache.
        verify: read every file all the same.
    """

    remember: bool = True
    verify: bool = False

    def sha256(self, path: Path) -> bytes:
        """SHA-256 of a file's content.

        Raises:
            ScorerError: with ``verify``, a file of the Hub's cache that is not what its name says.
        """
        before = path.stat()
        named = _hub_name(path)
        if named is not None and not self.verify:
            return bytes.fromhex(named)
        if before.st_size < _LARGE or (named is None and not self.remember):
            return file_sha256(path)
        entry = _entry(path)
        known = _recall(entry, path, before) if self.remember else None
        if known is not None and not self.verify:
            return bytes.fromhex(known)
        found = file_sha256(path)
        _compare(path, found.hex(), named, known)
        if self.remember and _state(path.stat()) == _state(before) and _is_settled(before):
            _keep(entry, {"path": str(path.resolve()), "state": _state(before), "sha256": found.hex()})
        return found


def _hub_name(path: Path) -> str | None:
    """The hash that the Hub's cache names a file by: large files are links to ``blobs/SHA-256``."""
    from huggingface_hub.constants import HF_HUB_CACHE

    target = path.resolve()
    if target.parent.name != "blobs" or _NAME.fullmatch(target.name) is None:
        return None
    return target.name if target.is_relative_to(Path(HF_HUB_CACHE).expanduser().resolve()) else None


def _compare(path: Path, found: str, named: str | None, known: str | None) -> None:
    if named is not None and found != named:
        raise ScorerError(
            f"{path}: the file is damaged: its SHA-256 is {found}, and the Hub's cache has it as {named}; delete "
            f"{path.resolve()} and fetch it again"
        )
    if known is not None and found != known:
        logger.warning("%s: its content changed, though its size and time did not", path)


def _state(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev]


def _is_settled(stat: os.stat_result) -> bool:
    return time.time_ns() - stat.st_mtime_ns > _SETTLED_NS


def _entry(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    return cache_root().parent / "hashes" / f"{name}.json"


def _recall(entry: Path, path: Path, stat: os.stat_result) -> str | None:
    try:
        kept = json.loads(entry.read_text(encoding="utf-8"))
        same = kept["path"] == str(path.resolve()) and kept["state"] == _state(stat)
        return kept["sha256"] if same and _NAME.fullmatch(kept["sha256"]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _keep(entry: Path, content: dict[str, Any]) -> None:
    """Write an entry whole or not at all; a cache that cannot be written is no error."""
    partial = entry.with_name(f".{entry.name}.{os.getpid()}")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(entry)
        kept = sorted(entry.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-_KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a path with bytes that are not UTF-8
        with suppress(OSError):
            partial.unlink()
        logger.info("%s: nothing is remembered: %s", entry.parent, error)
