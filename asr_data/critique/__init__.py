"""Faults of responses, marked by language models as critics: quotes, placed in the text and voted on.

Names are imported when they are used, so that the settings do not load readers and clients.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_data.critique.config import Critic, CritiqueSettings, load_critics, load_rubric
    from asr_data.critique.figures import CriticAgreement, CriticFigures, Figures, SideFigures
    from asr_data.critique.responses import review_layout
    from asr_data.critique.run import CritiqueReport, critique
    from asr_data.endpoints.config import RequestSettings

__all__ = [
    "critique",
    "review_layout",
    "Critic",
    "CritiqueSettings",
    "load_critics",
    "load_rubric",
    "RequestSettings",
    "CritiqueReport",
    "Figures",
    "SideFigures",
    "CriticFigures",
    "CriticAgreement",
]

_HOME = {
    **dict.fromkeys(("Critic", "CritiqueSettings", "load_critics", "load_rubric"), "asr_data.critique.config"),
    **dict.fromkeys(("Figures", "SideFigures", "CriticFigures", "CriticAgreement"), "asr_data.critique.figures"),
    **dict.fromkeys(("critique", "CritiqueReport"), "asr_data.critique.run"),
    "review_layout": "asr_data.critique.responses",
    "RequestSettings": "asr_data.endpoints.config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'asr_data.critique' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
