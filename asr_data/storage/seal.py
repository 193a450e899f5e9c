"""JSON files that carry their own SHA-256: a flipped bit in a count or a name is noticed, too.

``sha256`` is the last field. It is the hash of the file's bytes with zeros in the digest's place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from asr_data.errors import CorruptFileError

_FIELD: Final = "sha256"
_EMPTY: Final = "0" * 64


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """``content`` as a JSON object, indented, in its own order, with its seal."""
    text = json.dumps({**content, _FIELD: _EMPTY}, indent=2, ensure_ascii=False) + "\n"
    return _with_digest(text.encode(), _EMPTY, hashlib.sha256(text.encode()).hexdigest())


def unsealed(path: Path, data: bytes) -> dict[str, Any]:
    """The content of ``data``, which :func:`sealed_json` made, without the seal; ``path`` is for errors.

    Raises:
        CorruptFileError: it is not JSON, not an object, or not what was written.
    """
    content = parse_json(path, data)
    if not isinstance(content, dict):
        raise CorruptFileError(f"{path}: is not a JSON object")
    digest = content.pop(_FIELD, None)
    if not isinstance(digest, str) or len(digest) != len(_EMPTY) or not digest.isascii():
        raise CorruptFileError(f"{path}: the file changed: it does not end with its SHA-256")
    found = hashlib.sha256(_with_digest(data, digest, _EMPTY)).hexdigest()
    if found != digest:
        raise CorruptFileError(f"{path}: the file changed: SHA-256 is {found}, was {digest}")
    return content


def parse_json(path: Path, data: bytes) -> Any:
    """``data`` as JSON.

    Raises:
        CorruptFileError: it is not JSON; names ``path``.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # also bytes that are not UTF-8, and nesting without end
        raise CorruptFileError(f"{path}: is not JSON: {error}") from error


def _with_digest(data: bytes, before: str, after: str) -> bytes:
    return after.encode().join(data.rsplit(before.encode(), 1))
