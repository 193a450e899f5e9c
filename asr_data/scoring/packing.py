"""Which trees run together: in rows of a batch, by what a model spends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from asr_data.errors import ConfigError
from asr_data.scoring.tree import Fits


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row of n positions costs, in tokens: ``n + n² / even``.

    Attributes:
        even: the row length at which attention costs as much as everything else.
    """

    even: float

    def of(self, positions: int) -> float:
        """The cost of one row."""
        return positions * (1 + positions / self.even)

    def joins(self, limit: int) -> Fits:
        """A sequence joins a tree where that is cheaper than a row of its own, and the tree stays within ``limit``."""

        def fits(size: int, new: int, length: int) -> bool:
            joined = size + new
            return joined <= max(limit, length) and self.of(joined) <= self.of(size) + self.of(length)

        return fits


BatchRow: TypeAlias = list[int]
"""Places of the items that stand side by side in one row of a batch."""


def plan_rows(lengths: Sequence[int], budget: int, *, pack: bool = True) -> list[list[BatchRow]]:
    """Batches of rows of items, such that ``rows × longest row ≤ budget``; longest first.

    An item goes into the first row of the open batch that has room beside the batch's longest row, else into a new
    row, else into a new batch. The plan depends on ``lengths`` and ``budget`` alone; ties keep their order. An item
    longer than the budget gets a batch of its own.

    Args:
        lengths: positions of each item, all positive.
        budget: positions per batch, padding included.
        pack: False puts one item in a row.

    Returns:
        Batches of rows of places in ``lengths``, each exactly once.

    Raises:
        ConfigError: a budget below 1.
    """
    if budget < 1:
        raise ConfigError(f"batch_tokens must be at least 1, got {budget}")
    batches: list[list[BatchRow]] = []
    room: list[int] = []
    width = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((r for r, free in enumerate(room) if lengths[i] <= free), None) if pack else None
        if place is not None:
            batches[-1][place].append(i)
            room[place] -= lengths[i]
        elif batches and (len(room) + 1) * width <= budget:
            batches[-1].append([i])
            room.append(width - lengths[i])
        else:
            batches.append([[i]])
            width, room = lengths[i], [0]
    return batches
