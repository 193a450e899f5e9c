"""From token rewards to segments: the segmenters, and compiled kernels over flat buffers, without torch.

A segmenter is a settings object with a rule. Importing this compiles nothing: a kernel is imported when it is needed.
"""

from asr_data.segments.context import SplitContext
from asr_data.segments.segmenters import (
    BoundaryWeights,
    Fixed,
    Optimal,
    Pivot,
    Schmitt,
    SegmenterConfig,
    Sequence,
    Step,
    Token,
)
from asr_data.segments.split import Segmenter, split

__all__ = [
    "split",
    "SplitContext",
    "Schmitt",
    "Optimal",
    "BoundaryWeights",
    "Pivot",
    "Step",
    "Fixed",
    "Token",
    "Sequence",
    "SegmenterConfig",
    "Segmenter",
]
