"""Win rates with language models as judges: both orders, several judges, an expert for undecided pairs."""

from __future__ import annotations

from asr_data.endpoints.config import RequestSettings
from asr_data.judging.config import Judge, load_judges
from asr_data.judging.figures import Agreement, Figures, JudgeFigures, VoteFigures
from asr_data.judging.pairs import answers_layout
from asr_data.judging.run import JudgeReport, judge
from asr_data.judging.template import PromptTemplate, load_prompt
from asr_data.statistics.bootstrap import Estimate

__all__ = [
    "judge",
    "answers_layout",
    "Judge",
    "RequestSettings",
    "load_judges",
    "JudgeReport",
    "Figures",
    "JudgeFigures",
    "VoteFigures",
    "PromptTemplate",
    "load_prompt",
    "Estimate",
    "Agreement",
]
