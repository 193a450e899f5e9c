"""Result files that are there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """One value."""
    _write(path, json.dumps(value, indent=1))


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """One value a line."""
    _write(path, "".join(json.dumps(value) + "\n" for value in values))


def read_lines(path: Path) -> list[Any]:
    """What :func:`write_lines` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)
