"""What segmenters may need to know beside the rewards and their own settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_data.errors import ConfigError
from asr_data.types import Bool, Float32, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class SplitContext:
    """What is known of R rows with N tokens beside their rewards; each segmenter takes what it needs.

    Attributes:
        baseline: b, one number or float ``[R]``.
        sigma: the noise σ, one number or float ``[R]``; None estimates one number from the rewards that are cut, as
            ``asr_data.segments.noise`` says.
        boundary: int8 ``[N]`` of ``asr_data.boundaries.BoundaryKind``, what starts at each token; None where the
            text is not known, and then a cut costs the same everywhere.
        step_start: bool ``[N]``, true at tokens that start a step; a row's first token always does.
    """

    baseline: float | Float32 | Float64 = 0.0
    sigma: float | Float32 | Float64 | None = None
    boundary: NDArray[np.int8] | None = None
    step_start: Bool | None = None

    def baselines(self, rows: int) -> Float64:
        """Return b, float64 ``[R]``."""
        return per_row("baseline", self.baseline, rows)

    def sigmas(self, values: Float32, row_offsets: Int64) -> Float64:
        """Return σ, float64 ``[R]``, estimated from the values where it is not known."""
        if self.sigma is None:
            from asr_data.segments.noise import estimate_sigma

            return per_row("sigma", estimate_sigma(values, row_offsets), row_offsets.size - 1)
        return per_row("sigma", self.sigma, row_offsets.size - 1, minimum=0)

    def take(self, tokens: Int64, rows: Int64) -> SplitContext:
        """Return the context of these tokens, int64 ``[M]``, cut as rows that were parts of ``rows``, int64 ``[P]``."""
        return SplitContext(
            baseline=_taken(self.baseline, rows),
            sigma=None if self.sigma is None else _taken(self.sigma, rows),
            boundary=None if self.boundary is None else self.boundary[tokens],
            step_start=None if self.step_start is None else self.step_start[tokens],
        )


def per_row(name: str, setting: float | Float32 | Float64, rows: int, *, minimum: float = -np.inf) -> Float64:
    """Return a setting as float64 ``[rows]``, from one number or one per row.

    Raises:
        ConfigError: it does not fit.
    """
    given = np.asarray(setting, dtype=np.float64)
    if given.ndim > 1 or (given.ndim == 1 and given.shape != (rows,)):
        raise ConfigError(
            f"{name} must be one number or one per row ({rows} rows), got an array of shape {given.shape}"
        )
    wrong = ~np.isfinite(given) | (given < minimum)
    if wrong.any():
        allowed = "finite" if minimum == -np.inf else f"finite and at least {minimum:g}"
        where = f", row {int(np.argmax(wrong))}" if given.ndim else ""
        raise ConfigError(f"{name}{where}: must be {allowed}, got {given[wrong].flat[0]}")
    return np.ascontiguousarray(np.broadcast_to(given, (rows,)))


def _taken(setting: float | Float32 | Float64, rows: Int64) -> float | Float32 | Float64:
    return setting[rows] if isinstance(setting, np.ndarray) and setting.ndim else setting
