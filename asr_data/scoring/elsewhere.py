"""Another row beside each row, for scorers that show its answer as a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from asr_data.types import Row


def with_elsewhere(rows: Sequence[Row]) -> list[Row]:
    """Each row with another one beside it: the one half of them further on, or the next after it with another prompt.

    It depends on the rows alone, which are those of a shard, and not on batches, workers or interruptions. The pairs of
    an input row have the same one beside them: the first pair of another row.
    """
    first_of_row = [at for at, row in enumerate(rows) if at == 0 or not _same_row(rows[at - 1], row)]
    beside = _beside([rows[at] for at in first_of_row])
    lengths = [after - at for at, after in pairwise([*first_of_row, len(rows)])]
    found = [one for one, pairs in zip(beside, lengths, strict=True) for _ in range(pairs)]
    return [row if one is None else replace(row, elsewhere=one) for row, one in zip(rows, found, strict=True)]


def _same_row(one: Row, other: Row) -> bool:
    """Whether both are pairs of one input row."""
    return one.pair is not None and other.pair is not None and one.index == other.index


def _beside(rows: Sequence[Row]) -> list[Row | None]:
    count, half = len(rows), max(1, len(rows) // 2)
    change: list[int | None] = [None] * (2 * count)  # the next row with another prompt, in a circle
    for place in range(2 * count - 2, -1, -1):
        same = rows[place % count].prompt == rows[(place + 1) % count].prompt
        change[place] = change[place + 1] if same else (place + 1) % count
    out: list[Row | None] = []
    for place, row in enumerate(rows):
        start = (place + half) % count
        found = start if rows[start].prompt != row.prompt else change[start]
        out.append(None if found is None else rows[found])
    return out
