"""Steps of a response, as byte ends of the response text."""

from __future__ import annotations

import re

import numpy as np

from asr_data.types import Int32


def split_steps(text: str, separator: str) -> list[tuple[str, str]]:
    """Cut a text into ``(step, what separates it from the next)``; their concatenation is the text.

    Runs of separators, and white space around them, do not make empty steps.
    """
    pattern = re.compile(rf"\s*{re.escape(separator)}(?:\s|{re.escape(separator)})*")
    steps: list[tuple[str, str]] = []
    position = 0
    for match in pattern.finditer(text):
        if text[position : match.start()].strip():
            steps.append((text[position : match.start()], match.group()))
            position = match.end()
    if text[position:].strip() or not steps:
        steps.append((text[position:], ""))
    elif position < len(text):
        step, between = steps[-1]
        steps[-1] = (step, between + text[position:])
    return steps


def step_ends(steps: list[tuple[str, str]]) -> Int32:
    """Byte ends of steps with what follows them: consecutive spans over the whole text."""
    return np.cumsum([len((step + between).encode()) for step, between in steps], dtype=np.int32)
