"""From segments to masks: the baseline, the rule of paper eq. 8, and what happens at the edges.

Importing this compiles nothing: what needs the kernels is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asr_data.masks.baseline import (
    BaselineConfig,
    DatasetBaseline,
    FixedBaseline,
    PairBaseline,
    Responses,
    RunningBaseline,
    SequenceBaseline,
)
from asr_data.masks.batch import MaskedBatch, TokenBatch
from asr_data.masks.keep import keep_segments

if TYPE_CHECKING:
    from asr_data.masks.apply import needs_statistics, response_rewards, segment_and_mask, span_rewards, token_rewards

_COMPILED = ("segment_and_mask", "token_rewards", "span_rewards", "response_rewards", "needs_statistics")

__all__ = [
    "TokenBatch",
    "MaskedBatch",
    "segment_and_mask",
    "token_rewards",
    "span_rewards",
    "response_rewards",
    "needs_statistics",
    "keep_segments",
    "PairBaseline",
    "SequenceBaseline",
    "DatasetBaseline",
    "RunningBaseline",
    "FixedBaseline",
    "BaselineConfig",
    "Responses",
]


def __getattr__(name: str) -> Any:
    if name in _COMPILED:
        return getattr(import_module("asr_data.masks.apply"), name)
    raise AttributeError(f"module 'asr_data.masks' has no attribute {name!r}")
