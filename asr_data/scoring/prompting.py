"""Rows as a model's prompt settings want them."""

from __future__ import annotations

from dataclasses import replace

from asr_data.scoring.config import PromptConfig
from asr_data.types import Row


def as_prompted(row: Row, prompt: PromptConfig) -> Row:
    """The row as a model with this prompt wants it: strings made turns where it says so, and its system message."""
    if prompt.strings == "turns" and isinstance(row.prompt, str):
        completions = tuple(
            replace(c, content=[{"role": "assistant", "content": c.content}]) if isinstance(c.content, str) else c
            for c in row.completions
        )
        row = replace(row, prompt=[{"role": "user", "content": row.prompt}], completions=completions)
    return with_system(row, prompt.system)


def with_system(row: Row, system: str | None) -> Row:
    """The row with a system message in front, where its prompt has messages and none is the system's."""
    if system is None or isinstance(row.prompt, str) or any(m["role"] == "system" for m in row.prompt):
        return row
    return replace(row, prompt=[{"role": "system", "content": system}, *row.prompt])
