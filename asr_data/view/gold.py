"""Gold labels of annotated rows, to be underlined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asr_data.storage import AnnotatedDirectory

if TYPE_CHECKING:
    from asr_data.evaluation.gold import GoldReader

__all__ = ["FAULTY_BELOW", "gold_reader"]

FAULTY_BELOW: Final = 0.5
"""A label with a lower reward marks a fault."""


def gold_reader(annotated: AnnotatedDirectory, gold: str | None = None) -> GoldReader | None:
    """How gold labels of this directory's rows are read.

    Args:
        annotated: the directory.
        gold: what :func:`asr_data.evaluation.gold.find_gold` takes; None for the labels that its layout knows.

    Returns:
        None where nothing was named and the layout knows of no labels.

    Raises:
        ConfigError: there is no such column, side, format or directory.
        InputError: it holds no labels.
    """
    from asr_data.evaluation.gold import find_gold

    found = find_gold(annotated, gold)
    return None if found is None else found.read
