"""Which trees run together, and which sequences are padded side by side."""

from __future__ import annotations

from collections.abc import Sequence

from asr_data.errors import ConfigError
from asr_data.scoring.tree import Fits

_WORTH_SHARING = 16
"""Fewer tokens in common than these cost less than another piece of attention in every layer."""


def joins(limit: int | None = None) -> Fits:
    """A sequence joins a tree where it shares enough, and the tree stays within ``limit`` positions."""

    def fits(size: int, new: int, length: int) -> bool:
        if length - new < min(_WORTH_SHARING, length):
            return False
        return limit is None or size + new <= max(limit, length)

    return fits


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Batches of items that stand one behind the other, such that ``sum of lengths ≤ budget``; longest first.

    An item goes into the first batch that has room, else into a new one. The plan depends on ``lengths`` and
    ``budget`` alone; ties keep their order. An item longer than the budget gets a batch of its own.

    Args:
        lengths: positions of each item, all positive.
        budget: positions per batch.

    Returns:
        Batches of places in ``lengths``, each exactly once.

    Raises:
        ConfigError: a budget below 1.
    """
    _check(budget)
    batches: list[list[int]] = []
    room: list[int] = []
    for i in _longest_first(lengths):
        place = next((b for b, free in enumerate(room) if lengths[i] <= free), None)
        if place is None:
            place = len(batches)
            batches.append([])
            room.append(budget)
        batches[place].append(i)
        room[place] -= lengths[i]
    return batches


def plan_padded(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Batches of items that are padded to their longest, such that ``items × longest ≤ budget``; longest first.

    As :func:`plan_batches` otherwise.
    """
    _check(budget)
    batches: list[list[int]] = []
    longest = 0
    for i in _longest_first(lengths):
        if batches and (len(batches[-1]) + 1) * longest <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
            longest = lengths[i]
    return batches


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: -lengths[i])


def _check(budget: int) -> None:
    if budget < 1:
        raise ConfigError(f"batch_tokens must be at least 1, got {budget}")
