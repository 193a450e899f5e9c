"""Annotated directories against gold labels and beside controls: measured, compared, and settings tried.

Importing this imports none of them yet: who only reads gold labels needs no kernels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOME = {
    "comparing": ("compare", "Compared", "Contender"),
    "evaluating": ("evaluate", "sweep", "Evaluation", "Sweep", "SweptSetting"),
    "labelled_rows": ("Evaluated", "GoldOptions"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
