"""Another row beside each row, for scorers that show its answer as a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from asr_data.types import Row


def with_elsewhere(rows: Sequence[Row]) -> list[Row]:
    """Each row with another one beside it: the one half of them further on, or the next after it with another prompt.

    It depends on the rows alone, which are those of a shard, and not on batches, workers or interruptions.
    """
    count, half = len(rows), max(1, len(rows) // 2)
    change: list[int | None] = [None] * (2 * count)  # the next row with another prompt, in a circle
    for place in range(2 * count - 2, -1, -1):
        same = rows[place % count].prompt == rows[(place + 1) % count].prompt
        change[place] = change[place + 1] if same else (place + 1) % count
    out = []
    for place, row in enumerate(rows):
        start = (place + half) % count
        found = start if rows[start].prompt != row.prompt else change[start]
        out.append(row if found is None else replace(row, elsewhere=rows[found]))
    return out
