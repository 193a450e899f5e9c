"""Tables put into a page of the documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path


def fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Put each table between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        text, count = pattern.subn(lambda _, b=begin, t=block, e=end: f"{b}\n{t}\n{e}", text)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"{page}: there must be one place for the table {name!r}, and there are {count}")
    page.write_text(text, encoding="utf-8")
