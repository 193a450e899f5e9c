"""Which sequences run together: length-sorted, by a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Sequence

from asr_data.errors import ConfigError


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group sequences so that ``count × longest ≤ budget``, longest first.

    The plan depends on ``lengths`` and ``budget`` alone; ties keep their order. A sequence longer than the budget
    gets a batch of its own.

    Args:
        lengths: tokens of each sequence, all positive.
        budget: padded tokens per batch.

    Returns:
        Positions into ``lengths``, each exactly once.
    """
    if budget < 1:
        raise ConfigError(f"batch_tokens must be at least 1, got {budget}")
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
