"""From token rewards to segments: compiled kernels over flat buffers, without torch."""

from asr_data.segments.optimal import Optimal
from asr_data.segments.pivot import Pivot
from asr_data.segments.schmitt import Schmitt
from asr_data.segments.split import Segmenter, split
from asr_data.segments.step import Step
from asr_data.segments.whole import Sequence, Token

__all__ = ["split", "Segmenter", "Pivot", "Schmitt", "Optimal", "Step", "Token", "Sequence"]
