"""How much a mask follows from where in a response a token stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from asr_data.segments.positions import places
from asr_data.types import Bool, Float64, Int64

FIFTHS: Final = 5
SUSPECT: Final = 0.7
"""From this AUROC on, a mask is reported as nearly a function of position."""
ENOUGH: Final = 20
"""Fewest responses of a side to report on: with few, such an AUROC is easily chance."""


@dataclass(frozen=True, slots=True)
class KeptByPosition:
    """Tokens of one side's responses by fifth of the response, end-of-turn tokens left out.

    Attributes:
        kept: those that are trained on, ``FIFTHS`` numbers.
        tokens: all of them, likewise.
        responses: of the side.
    """

    kept: tuple[int, ...]
    tokens: tuple[int, ...]
    responses: int

    @property
    def shares(self) -> tuple[float | None, ...]:
        """Kept share of each fifth; None where it has no token."""
        return tuple(kept / whole if whole else None for kept, whole in zip(self.kept, self.tokens, strict=True))

    @property
    def auroc(self) -> float | None:
        """How well the fifth tells a kept token from a dropped one, in whichever direction: 0.5 to 1.

        The chance that a kept token stands in an earlier fifth than a dropped one, ties half, or in a later one if
        that is more. A mask that does not look at position has 0.5, whatever share it keeps. None where all are kept
        or none.
        """
        kept: Float64 = np.array(self.kept, dtype=np.float64)
        dropped = np.array(self.tokens, dtype=np.float64) - kept
        if not kept.sum() or not dropped.sum():
            return None
        later = dropped.sum() - np.cumsum(dropped)
        earlier_kept = float((kept * (later + dropped / 2)).sum() / (kept.sum() * dropped.sum()))
        return max(earlier_kept, 1.0 - earlier_kept)

    @property
    def is_suspect(self) -> bool:
        """Whether the mask is nearly a function of position: ``auroc`` is at least ``SUSPECT``, over ``ENOUGH``
        responses."""
        found = self.auroc
        return found is not None and found >= SUSPECT and self.responses >= ENOUGH


def tokens_by_fifth(flags: Bool, counted: Bool, row_offsets: Int64) -> Int64:
    """Counted tokens of each response for which a flag is true, by fifth, int64 ``[R, FIFTHS]``.

    The k-th of n is in fifth ``⌊5 k / n⌋``.
    """
    place, count = places(counted, row_offsets)
    rows = row_offsets.size - 1
    row = np.repeat(np.arange(rows), np.diff(row_offsets))
    taken = counted & flags
    cell = row[taken] * FIFTHS + FIFTHS * place[taken] // count[taken]
    return np.bincount(cell, minlength=rows * FIFTHS).reshape(rows, FIFTHS).astype(np.int64)


def kept_by_position(mask: Bool, counted: Bool, row_offsets: Int64, chosen: Bool) -> KeptByPosition:
    """Of the ``chosen`` responses, bool ``[R]``; the other arrays are as in :func:`tokens_by_fifth`."""
    everywhere = np.ones(counted.size, dtype=np.bool_)
    kept, tokens = (tokens_by_fifth(flags, counted, row_offsets)[chosen].sum(axis=0) for flags in (mask, everywhere))
    return KeptByPosition(tuple(kept.tolist()), tuple(tokens.tolist()), int(chosen.sum()))


def position_warnings(found: Sequence[tuple[str, KeptByPosition]]) -> list[str]:
    """A sentence on each side, given by name, whose masks are nearly a function of position."""
    return [
        f"{side}: the mask is nearly a function of position, which alone tells kept tokens from dropped ones with an "
        f"AUROC of {one.auroc:.2f} (chance: 0.5; this warning: from {SUSPECT:.2f} on). The reward may fall or rise "
        "along every response: see --detrend"
        for side, one in found
        if one.is_suspect
    ]
