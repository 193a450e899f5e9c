"""What a cut costs, by what starts there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr_data.segments.segmenters import BoundaryWeights
from asr_data.types import Float64


def boundary_weights(kinds: NDArray[np.int8], weights: BoundaryWeights) -> Float64:
    """Return float64 ``[n]``: the cost of a cut before each token, as a multiple of c²."""
    table = np.array(
        [weights.inside_word, weights.word, weights.clause, weights.sentence, weights.line], dtype=np.float64
    )
    return table[kinds]
