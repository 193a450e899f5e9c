"""Segment-level reward masks for preference data. Importing this does not import torch.

scorer = asr_data.load_scorer("builtin")
masked = asr_data.annotate(dataset, scorer)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_data.evaluation import evaluate
    from asr_data.pipeline import annotate
    from asr_data.scoring.load import load_scorer
    from asr_data.segments import split

_HOME = {
    "load_scorer": "asr_data.scoring.load",
    "annotate": "asr_data.pipeline",
    "evaluate": "asr_data.evaluation",
    "split": "asr_data.segments",
}

__all__ = ["load_scorer", "annotate", "evaluate", "split"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'asr_data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
