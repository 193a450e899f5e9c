"""``step``: the step-wise baseline, cut at starts given from outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_data.errors import ConfigError
from asr_data.types import Bool, Float32, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Cut where the caller says that steps start: sentence ends, newlines, or the scorer's own steps.

    Attributes:
        step_start: bool ``[N]``, true at tokens that start a step. A row's first token always does.
    """

    step_start: Bool

    def starts(self, values: Float32, row_offsets: Int64) -> Int64:
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        given = np.asarray(self.step_start)
        if given.dtype != np.bool_ or given.shape != values.shape:
            raise ConfigError(
                f"step_start must be bool of shape {values.shape}, got dtype {given.dtype} and shape {given.shape}"
            )
        cuts = given.copy()
        cuts[row_offsets[:-1][row_offsets[:-1] < row_offsets[1:]]] = True
        return np.flatnonzero(cuts).astype(np.int64, copy=False)
