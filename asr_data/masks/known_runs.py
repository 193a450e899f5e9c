"""Tokens whose reward is not known, which is neither good nor bad: they are NaN in memory and null on disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_data.types import Bool, Float32, Int64


@dataclass(frozen=True, slots=True, eq=False)
class KnownRuns:
    """Maximal runs of tokens of one row whose rewards are known; P runs of M tokens.

    Attributes:
        token: int64 ``[M]``, the known tokens, ascending.
        offsets: int64 ``[P + 1]``, the runs in ``token``.
        row: int64 ``[P]``, the row of each run.
        unknown_start: int64 ``[U]``, the first tokens of the runs of unknown ones.
    """

    token: Int64
    offsets: Int64
    row: Int64
    unknown_start: Int64


def known_runs(rewards: Float32, row_offsets: Int64) -> KnownRuns:
    """Return the runs of known tokens; ``rewards`` float32 ``[N]``, ``row_offsets`` int64 ``[R + 1]``."""
    known = ~np.isnan(rewards)
    begins = np.ones(rewards.size, dtype=np.bool_)
    begins[1:] = known[1:] != known[:-1]
    begins[row_offsets[:-1][row_offsets[:-1] < row_offsets[1:]]] = True
    start = np.flatnonzero(begins)
    lengths = np.diff(start, append=rewards.size)[known[start]]
    return KnownRuns(
        token=np.flatnonzero(known),
        offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        row=np.searchsorted(row_offsets, start[known[start]], side="right") - 1,
        unknown_start=start[~known[start]],
    )


def unknown_responses(rewards: Float32, row_offsets: Int64) -> Bool:
    """Return bool ``[R]``, true where no token of a response has a known reward; arguments as above."""
    known = np.concatenate(([0], np.cumsum(~np.isnan(rewards))))
    unknown: Bool = known[row_offsets[1:]] == known[row_offsets[:-1]]
    return unknown
