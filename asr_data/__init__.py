"""Segment-level reward masks for preference data. Importing this imports neither torch nor numba.

scorer = asr_data.load_scorer("builtin")
masked = asr_data.annotate(dataset, scorer, mask=asr_data.MaskConfig(segmenter=asr_data.Schmitt(delta=0.1)))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_data.config import (
        BoundaryWeights,
        ConfidenceWeights,
        DatasetBaseline,
        Fixed,
        FixedBaseline,
        MaskConfig,
        Optimal,
        OutputConfig,
        PairBaseline,
        Pivot,
        RunningBaseline,
        Schmitt,
        ScoringConfig,
        SegmentWeights,
        Sequence,
        SequenceBaseline,
        ShareWeights,
        SoftWeights,
        Step,
        Token,
        UniformWeights,
    )
    from asr_data.evaluation import evaluate
    from asr_data.pairs import PairConfig
    from asr_data.pipeline import annotate
    from asr_data.scoring.load import load_scorer
    from asr_data.segments import SplitContext, split
    from asr_data.tables import frame

__all__ = [
    "MaskConfig",
    "Optimal",
    "BoundaryWeights",
    "Schmitt",
    "Pivot",
    "Step",
    "Fixed",
    "Token",
    "Sequence",
    "PairBaseline",
    "SequenceBaseline",
    "DatasetBaseline",
    "RunningBaseline",
    "FixedBaseline",
    "UniformWeights",
    "SegmentWeights",
    "SoftWeights",
    "ShareWeights",
    "ConfidenceWeights",
    "ScoringConfig",
    "OutputConfig",
    "PairConfig",
    "load_scorer",
    "annotate",
    "evaluate",
    "frame",
    "split",
    "SplitContext",
]

_HOME = {
    "PairConfig": "asr_data.pairs",
    "load_scorer": "asr_data.scoring.load",
    "annotate": "asr_data.pipeline",
    "evaluate": "asr_data.evaluation",
    "frame": "asr_data.tables",
    "split": "asr_data.segments",
    "SplitContext": "asr_data.segments",
}
"""Where names live that are not settings."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_HOME.get(name, "asr_data.config")), name)
    raise AttributeError(f"module 'asr_data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
