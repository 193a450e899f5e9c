"""Win rates with language models as judges: both orders, several judges, an expert for undecided pairs.

Names are imported when they are used, so that the settings do not load readers and clients.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOME = {
    **dict.fromkeys(("Judge", "load_judges"), "asr_data.judging.config"),
    "RequestSettings": "asr_data.endpoints.config",
    **dict.fromkeys(("Figures", "JudgeFigures", "VoteFigures", "Agreement"), "asr_data.judging.figures"),
    **dict.fromkeys(("judge", "JudgeReport"), "asr_data.judging.run"),
    **dict.fromkeys(("PromptTemplate", "load_prompt"), "asr_data.judging.template"),
    "answers_layout": "asr_data.judging.pairs",
    "Estimate": "asr_data.statistics.bootstrap",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'asr_data.judging' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
