"""Annotated directories against gold labels and beside controls: measured, compared, and settings tried."""

from asr_data.evaluation.comparing import Compared, Contender, compare
from asr_data.evaluation.evaluating import Evaluation, Sweep, SweptSetting, evaluate, sweep
from asr_data.evaluation.labelled_rows import Evaluated, GoldOptions

__all__ = [
    "evaluate",
    "compare",
    "sweep",
    "GoldOptions",
    "Evaluation",
    "Evaluated",
    "Compared",
    "Contender",
    "Sweep",
    "SweptSetting",
]
