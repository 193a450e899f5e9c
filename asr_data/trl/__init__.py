"""TRL's trainers on annotated data: masks instead of whole responses. Importing this imports neither torch nor TRL.

from asr_data.trl import AdaptiveDPOTrainer
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from asr_data.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from asr_data.trl.dpo import AdaptiveDPOTrainer
    from asr_data.trl.grpo import AdaptiveGRPOTrainer
    from asr_data.trl.kto import AdaptiveKTOTrainer
    from asr_data.trl.online_dpo import AdaptiveOnlineDPOTrainer
    from asr_data.trl.online_rejection_sampling import AdaptiveOnlineRSTrainer
    from asr_data.trl.rejection_sampling import AdaptiveRSTrainer
    from asr_data.trl.win_rate import WinRateCallback

_HOME = {
    "AdaptiveDPOTrainer": "asr_data.trl.dpo",
    "AdaptiveRSTrainer": "asr_data.trl.rejection_sampling",
    "AdaptiveKTOTrainer": "asr_data.trl.kto",
    "AdaptiveGRPOTrainer": "asr_data.trl.grpo",
    "AdaptiveOnlineDPOTrainer": "asr_data.trl.online_dpo",
    "AdaptiveOnlineRSTrainer": "asr_data.trl.online_rejection_sampling",
    "WinRateCallback": "asr_data.trl.win_rate",
}

_EXPERIMENTAL = {"AdaptiveOnlineDPOTrainer": "trl.experimental.online_dpo"}
"""Trainers on parts of TRL that come and go."""

__all__ = [
    "AdaptiveDPOTrainer",
    "AdaptiveRSTrainer",
    "AdaptiveKTOTrainer",
    "AdaptiveGRPOTrainer",
    "AdaptiveOnlineDPOTrainer",
    "AdaptiveOnlineRSTrainer",
    "WinRateCallback",
]


def __getattr__(name: str) -> Any:
    if name == "AdaptivePPOTrainer":
        raise ConfigError(
            "AdaptivePPOTrainer: there is none, since TRL has no PPO trainer that it could stand on (1.14 to 1.16). "
            "AdaptiveGRPOTrainer is eq. 9 with group advantages; adaptive_ppo_loss takes those of a value head of yours"
        )
    if name not in _HOME:
        raise AttributeError(f"module 'asr_data.trl' has no attribute {name!r}")
    if find_spec("trl") is None:
        raise MissingDependencyError("trl", name, "pip install 'asr-data[train]'")
    needed = _EXPERIMENTAL.get(name)
    try:
        return getattr(import_module(_HOME[name]), name)
    except ImportError as error:
        if needed is None:
            raise
        raise ConfigError(f"{name} needs {needed}, as in TRL 1.16; this is TRL {version('trl')}: {error}") from error


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
