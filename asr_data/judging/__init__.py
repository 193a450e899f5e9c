"""Win rates by language models as judges: both orders, several judges, an expert for what they cannot decide."""

from __future__ import annotations

from asr_data.judging.config import Asking, Judge, load_judges
from asr_data.judging.figures import Agreement, Estimate, Figures, JudgeFigures
from asr_data.judging.pairs import answers_layout
from asr_data.judging.run import Judged, judge

__all__ = [
    "judge",
    "answers_layout",
    "Judge",
    "Asking",
    "load_judges",
    "Judged",
    "Figures",
    "JudgeFigures",
    "Estimate",
    "Agreement",
]
