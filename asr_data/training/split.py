"""Holding out whole questions, so that no held-out question was seen in training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol, TypeVar

from asr_data.errors import ConfigError


class Grouped(Protocol):
    """Anything that knows which question it belongs to."""

    @property
    def group(self) -> str:
        """Identity of the question."""


GroupedT = TypeVar("GroupedT", bound=Grouped)


def hold_out(examples: Iterable[GroupedT], fraction: float, seed: int) -> tuple[list[GroupedT], list[GroupedT]]:
    """Split examples into a training part and a held-out part, by group.

    A group's part depends on ``(seed, group)`` alone, through SHA-256: not on the order of the examples, on
    which other groups there are, or on the interpreter's hash seed. A question that occurs in several
    sources is therefore held out from all of them or from none.

    Args:
        examples: anything with a ``group``.
        fraction: share of the groups to hold out, in ``[0, 1]``; met in expectation.
        seed: another seed holds out other groups.

    Returns:
        ``(train, held_out)``, both in input order.

    Raises:
        ConfigError: ``fraction`` is outside ``[0, 1]``.
    """
    if not 0.0 <= fraction <= 1.0:
        raise ConfigError(f"fraction to hold out is {fraction}; it must be between 0 and 1")
    train: list[GroupedT] = []
    held_out: list[GroupedT] = []
    for example in examples:
        part = held_out if _position(seed, example.group) < fraction else train
        part.append(example)
    return train, held_out


def _position(seed: int, group: str) -> float:
    """Return a number in ``[0, 1)`` that looks uniform over groups."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    # 53 bits, so that the quotient is an exact float below 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
