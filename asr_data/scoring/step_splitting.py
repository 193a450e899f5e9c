"""Steps of a response, as byte ends of the response text."""

from __future__ import annotations

import re

import numpy as np

from asr_data.types import Int32


def split_steps(text: str, separator: str, *, keep_empty: bool = False) -> list[tuple[str, str]]:
    """Cut a text into ``(step, what separates it from the next)``; their concatenation is the text.

    Runs of separators with white space around them, and white space at the end, are one separation, so that no step
    is empty. With ``keep_empty`` every separator ends a step, as it stands; an empty end of the text makes none.
    """
    if keep_empty:
        *before, last = text.split(separator)
        exact = [(step, separator) for step in before]
        return [*exact, (last, "")] if last or not exact else exact
    pattern = re.compile(rf"\s*{re.escape(separator)}(?:\s|{re.escape(separator)})*")
    steps: list[tuple[str, str]] = []
    position = 0
    for match in pattern.finditer(text):
        if text[position : match.start()].strip():
            steps.append((text[position : match.start()], match.group()))
            position = match.end()
    rest = text[position:]
    if rest.strip() or not steps:
        step = rest.rstrip() or rest
        steps.append((step, rest[len(step) :]))
    elif rest:
        step, between = steps[-1]
        steps[-1] = (step, between + rest)
    return steps


def step_ends(steps: list[tuple[str, str]]) -> Int32:
    """Byte ends of steps with what follows them: consecutive spans over the whole text."""
    return np.cumsum([len((step + between).encode()) for step, between in steps], dtype=np.int32)
