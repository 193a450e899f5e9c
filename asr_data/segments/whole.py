"""The two extremes: every token a segment, and every response one segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_data.types import Float32, Int64


@dataclass(frozen=True, slots=True)
class Token:
    """Every token is a segment."""

    def starts(self, values: Float32, row_offsets: Int64) -> Int64:  # noqa: ARG002 - the protocol's signature
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        return np.arange(values.size, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Sequence:
    """Every row is one segment."""

    def starts(self, values: Float32, row_offsets: Int64) -> Int64:  # noqa: ARG002 - the protocol's signature
        """Return the flat segment starts, int64; see ``asr_data.split``."""
        return row_offsets[:-1][row_offsets[:-1] < row_offsets[1:]]
