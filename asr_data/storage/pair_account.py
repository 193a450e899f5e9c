"""Whether every pair of every input row is in an output exactly once, where a row can be several pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from asr_data.pairs import PairRule
from asr_data.storage.row_keys import pairs_of, rows_of
from asr_data.types import Int64


def pair_faults(rule: PairRule, data: Int64, rejects: Int64) -> Iterator[tuple[str, Int64]]:
    """What is wrong, and in which input rows, int64 ``[rows]``.

    An input row is rejected as a whole, or its pairs are those that the rule makes of some number of answers. How many
    answers a row has is not known here: pairs that are missing at the end go unnoticed.

    Args:
        rule: how pairs are made.
        data: keys of the annotated rows, int64 ``[annotated]``, ascending.
        rejects: keys of the rejected ones, of pairs and of whole rows.
    """
    both = np.intersect1d(data, rejects)
    yield "row is both annotated and rejected", np.unique(rows_of(both))
    whole = rows_of(rejects[pairs_of(rejects) < 0])
    keys = np.union1d(data, rejects[pairs_of(rejects) >= 0])
    yield "row is rejected as a whole, and has pairs", np.intersect1d(whole, rows_of(keys))
    rows, first, count = np.unique(rows_of(keys), return_index=True, return_counts=True)
    place = np.arange(len(keys)) - np.repeat(first, count)
    wrong = np.unique(rows_of(keys[pairs_of(keys) != _expected(rule, place)]))
    if rule == "all":  # the pairs of 2, 3, 4 … answers are 1, 3, 6 …
        answers = np.round((1 + np.sqrt(1 + 8.0 * count)) / 2).astype(np.int64)
        wrong = np.union1d(wrong, rows[answers * (answers - 1) // 2 != count])
    yield f"row lacks a pair that {rule} makes", wrong


def _expected(rule: PairRule, place: Int64) -> Int64:
    """The numbers of a row's pairs in order; see :mod:`asr_data.pairs`."""
    worse = place + 1
    lower = worse * (worse - 1) // 2
    match rule:
        case "adjacent":
            return lower + place
        case "best-rest":
            return lower
        case _:
            return place
