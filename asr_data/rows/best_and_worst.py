"""Which of several responses is the best and which the worst, by scores, ranks or a signed preference.

Of several that are equally good or bad it is the first. Where best and worst are equal there is no pair, and the row is
rejected. Which other pairs can be made is in :mod:`asr_data.pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from asr_data.errors import RowRejected
from asr_data.rows.class_labels import verdict_of


def by_scores(scores: Any, count: int, column: str) -> tuple[int, int]:
    """Indices of the highest and of the lowest score.

    Args:
        scores: ``[count]`` finite numbers.
        count: number of responses.
        column: where the scores come from, for messages.

    Raises:
        RowRejected: ``wrong_type`` or ``missing_column`` where they are not one number per response,
            ``no_preference`` where the highest is the lowest.
    """
    if not isinstance(scores, Sequence) or isinstance(scores, str):
        raise RowRejected("wrong_type", f"column {column!r} is {type(scores).__name__}, not a list of numbers")
    if len(scores) != count:
        raise RowRejected("wrong_type", f"column {column!r} holds {len(scores)} numbers for {count} responses")
    numbers = [finite_number(score, f"column {column!r}, number {at}") for at, score in enumerate(scores)]
    if not numbers or max(numbers) == min(numbers):
        raise RowRejected("no_preference", f"column {column!r}: none of {count} responses is better than another")
    return numbers.index(max(numbers)), numbers.index(min(numbers))


def by_ranks(ranks: Any, count: int, column: str) -> tuple[int, int]:
    """Indices of the lowest rank, which is the best, and of the highest; otherwise as ``by_scores``."""
    best, worst = by_scores(ranks, count, column)
    return worst, best


def verdict_numbers(verdicts: Any, column: str) -> Any:
    """A list of verdicts as scores, 1 where one is true; what is no list stays what it is.

    Raises:
        RowRejected: ``wrong_type`` where one is no verdict.
    """
    if not isinstance(verdicts, Sequence) or isinstance(verdicts, str):
        return verdicts
    return [None if one is None else int(verdict_of(one, {}, column)) for one in verdicts]


def by_preference(preference: Any, column: str) -> tuple[int, int]:
    """Chosen and rejected of two: the first one is chosen below zero, the second one above (HelpSteer2 and 3).

    Raises:
        RowRejected: ``wrong_type`` where it is no number, ``no_preference`` where it is zero.
    """
    number = finite_number(preference, f"column {column!r}")
    if number == 0:
        raise RowRejected("no_preference", f"column {column!r} is 0: neither response is better")
    return (0, 1) if number < 0 else (1, 0)


def finite_number(value: Any, place: str) -> float:
    """The value as a number.

    Raises:
        RowRejected: ``missing_column`` where it is null, ``wrong_type`` where it is no finite number.
    """
    if value is None:
        raise RowRejected("missing_column", f"{place} is null")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RowRejected("wrong_type", f"{place} is {value!r}, not a finite number")
    return float(value)
