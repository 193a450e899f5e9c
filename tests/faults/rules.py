"""Rules for the children of the campaign: rewards that follow from the text alone."""

from __future__ import annotations

import re
from typing import Any


def by_word(prompt: Any, response: str) -> list[tuple[int, int, float]]:
    """A reward for each word, by its length and whether it has an even number of them."""
    words = re.finditer(r"\S+\s*", response)
    return [(word.start(), word.end(), len(word.group()) % 5 - 2.0) for word in words]
