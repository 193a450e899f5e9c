"""From segments to masks: the baseline, the rule of paper eq. 8, and what happens at the edges."""

from asr_data.masks.apply import (
    MaskedBatch,
    TokenBatch,
    needs_statistics,
    response_rewards,
    segment_and_mask,
    token_rewards,
)
from asr_data.masks.baseline import baselines
from asr_data.masks.keep import keep_segments

__all__ = [
    "TokenBatch",
    "MaskedBatch",
    "segment_and_mask",
    "token_rewards",
    "response_rewards",
    "needs_statistics",
    "baselines",
    "keep_segments",
]
