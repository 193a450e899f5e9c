"""Faults of responses, marked by language models as critics: quotes, placed in the text and voted on."""

from __future__ import annotations

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
