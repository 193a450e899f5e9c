"""The noise σ of single responses, recovered from the scores, as ``--noise response`` estimates it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from asr_data.ragged import Ragged, offsets_of
from asr_data.segments.noise import estimate_sigma_per_row
from asr_data.segments.rewards import increments
from asr_data.types import Float64, Side


def response_sigmas(scores: pa.RecordBatch, side: Side, reward: Literal["value", "delta"]) -> Float64:
    """Return σ of each row's response, float64 ``[rows]``, from a ``scores`` batch; 0 where no reward changes."""
    ends = Ragged(scores.column(f"{side}_span_end")).arrays()
    rewards = Ragged(scores.column(f"{side}_span_reward")).arrays()
    spans = [given[end > 0] for given, end in zip(rewards, ends, strict=True)]
    offsets = offsets_of([len(one) for one in spans])
    values = np.concatenate([np.zeros(0, dtype=np.float32), *spans]).astype(np.float32)
    if reward == "delta":  # a first span that ends at 0 holds the value at the end of the prompt
        initial = np.array([given[0] if len(given) else np.nan for given in rewards], dtype=np.float32)
        values = increments(values, offsets, initial)
    return estimate_sigma_per_row(values, offsets)
