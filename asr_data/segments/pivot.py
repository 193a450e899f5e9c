"""``pivot``: a segment starts where the reward jumps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from asr_data.errors import ConfigError
from asr_data.segments.noise import estimate_sigma
from asr_data.segments.split import per_row
from asr_data.types import Float32, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Pivot:
    """Cut before token t when ``abs(r_t − r_{t−1}) > tau``.

    Attributes:
        tau: the threshold, at least 0. ``"auto"`` is ``k`` robust standard deviations of the first
            differences, ``k · √2 · σ``.
        k: the factor of ``"auto"``, above 0.
        sigma: the noise σ of ``"auto"``, one number or float ``[R]``; None estimates one number from all the
            values given, as ``asr_data.segments.noise`` says (0 with fewer than two differences).
    """

    tau: float | Literal["auto"] = "auto"
    k: float = 3.0
    sigma: float | Float64 | None = None

    def __post_init__(self) -> None:
        if isinstance(self.tau, str) and self.tau != "auto":
            raise ConfigError(f'tau must be a number or "auto", got {self.tau!r}')
        if not (math.isfinite(self.k) and self.k > 0):
            raise ConfigError(f"k must be finite and above 0, got {self.k}")

    def starts(self, values: Float32, row_offsets: Int64) -> Int64:
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        rows = row_offsets.size - 1
        if self.tau == "auto":
            sigma = estimate_sigma(values, row_offsets) if self.sigma is None else self.sigma
            tau = self.k * math.sqrt(2) * per_row("sigma", sigma, rows, minimum=0)
        else:
            tau = per_row("tau", self.tau, rows, minimum=0)
        starts = np.empty(values.size, dtype=np.int64)
        return starts[: _pivot(values, row_offsets, tau, starts)].copy()


@njit(cache=True, nogil=True)
def _pivot(values: Float32, row_offsets: Int64, tau: Float64, starts: Int64) -> int:
    count = 0
    for row in range(row_offsets.size - 1):
        begin, end, threshold = row_offsets[row], row_offsets[row + 1], tau[row]
        if begin == end:
            continue
        starts[count] = begin
        count += 1
        previous = np.float64(values[begin])
        for position in range(begin + 1, end):
            value = np.float64(values[position])
            # Written always, counted when true: no branch to mispredict. The slot exists, as count <=
            # position.
            starts[count] = position
            count += abs(value - previous) > threshold
            previous = value
    return count
