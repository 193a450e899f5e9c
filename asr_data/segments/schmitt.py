"""``schmitt``: a Schmitt trigger around the baseline (paper eq. 15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from asr_data.errors import ConfigError
from asr_data.segments.noise import estimate_sigma
from asr_data.segments.split import per_row
from asr_data.types import Float32, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Schmitt:
    """Cut where the state changes: good when ``r_t > b + δ``, bad when ``r_t < b − δ``, else as before.

    Leading neutral tokens take the first decided state; a row without a decided token is one segment.

    Attributes:
        delta: half-width δ of the dead band, at least 0. ``"auto"`` is σ.
        baseline: b, one number or float ``[R]``.
        sigma: the noise σ of ``"auto"``, one number or float ``[R]``; None estimates one number from all the
            values given, as ``asr_data.segments.noise`` says.
    """

    delta: float | Literal["auto"] = "auto"
    baseline: float | Float32 | Float64 = 0.0
    sigma: float | Float64 | None = None

    def __post_init__(self) -> None:
        if isinstance(self.delta, str) and self.delta != "auto":
            raise ConfigError(f'delta must be a number or "auto", got {self.delta!r}')

    def starts(self, values: Float32, row_offsets: Int64) -> Int64:
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        rows = row_offsets.size - 1
        baseline = per_row("baseline", self.baseline, rows)
        if self.delta == "auto":
            sigma = estimate_sigma(values, row_offsets) if self.sigma is None else self.sigma
            delta = per_row("sigma", sigma, rows, minimum=0)
        else:
            delta = per_row("delta", self.delta, rows, minimum=0)
        starts = np.empty(values.size, dtype=np.int64)
        return starts[: _schmitt(values, row_offsets, baseline - delta, baseline + delta, starts)].copy()


@njit(cache=True, nogil=True)
def _schmitt(values: Float32, row_offsets: Int64, lower: Float64, upper: Float64, starts: Int64) -> int:
    count = 0
    for row in range(row_offsets.size - 1):
        begin, end, low, high = row_offsets[row], row_offsets[row + 1], lower[row], upper[row]
        if begin == end:
            continue
        starts[count] = begin
        count += 1
        state = 0  # 1 good, -1 bad, 0 not yet decided
        for position in range(begin, end):
            value = np.float64(values[position])
            decided = (value > high) - (value < low)
            if decided != 0 and decided != state:
                # The first decided state reaches back to the row's start, which is a start already.
                if state != 0:
                    starts[count] = position
                    count += 1
                state = decided
    return count
