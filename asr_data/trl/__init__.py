"""TRL's trainers on annotated data: masks instead of whole responses. Importing this imports neither torch nor TRL.

from asr_data.trl import AdaptiveDPOTrainer
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from asr_data.errors import MissingDependencyError

if TYPE_CHECKING:
    from asr_data.trl.dpo import AdaptiveDPOTrainer
    from asr_data.trl.grpo import AdaptiveGRPOTrainer
    from asr_data.trl.kto import AdaptiveKTOTrainer
    from asr_data.trl.rejection_sampling import AdaptiveRSTrainer
    from asr_data.trl.win_rate import WinRateCallback

_HOME = {
    "AdaptiveDPOTrainer": "asr_data.trl.dpo",
    "AdaptiveRSTrainer": "asr_data.trl.rejection_sampling",
    "AdaptiveKTOTrainer": "asr_data.trl.kto",
    "AdaptiveGRPOTrainer": "asr_data.trl.grpo",
    "WinRateCallback": "asr_data.trl.win_rate",
}

__all__ = ["AdaptiveDPOTrainer", "AdaptiveRSTrainer", "AdaptiveKTOTrainer", "AdaptiveGRPOTrainer", "WinRateCallback"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'asr_data.trl' has no attribute {name!r}")
    if find_spec("trl") is None:
        raise MissingDependencyError("trl", name, "pip install 'asr-data[train]'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
