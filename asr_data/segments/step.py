"""``step``: the step-wise baseline, cut at starts given from outside."""

from __future__ import annotations

import numpy as np

from asr_data.errors import ConfigError
from asr_data.types import Bool, Int64


def step_starts(step_start: Bool | None, shape: tuple[int, ...], row_offsets: Int64) -> Int64:
    """Return the tokens that start a step, and the first of each row.

    Raises:
        ConfigError: ``step_start`` is missing or not bool of this shape.
    """
    given = np.asarray(step_start)
    if given.dtype != np.bool_ or given.shape != shape:
        got = "nothing" if step_start is None else f"dtype {given.dtype} and shape {given.shape}"
        raise ConfigError(f"step_start must be bool of shape {shape}, got {got}; give it as SplitContext(step_start=…)")
    cuts = given.copy()
    cuts[row_offsets[:-1][row_offsets[:-1] < row_offsets[1:]]] = True
    return np.flatnonzero(cuts).astype(np.int64, copy=False)
