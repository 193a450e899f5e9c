"""Annotated directories against gold labels: rewards, segments and masks are measured, settings are compared."""

from asr_data.evaluation.evaluating import Evaluation, Sweep, SweptSetting, evaluate, sweep
from asr_data.evaluation.labelled_rows import Evaluated, GoldOptions

__all__ = ["evaluate", "sweep", "GoldOptions", "Evaluation", "Evaluated", "Sweep", "SweptSetting"]
