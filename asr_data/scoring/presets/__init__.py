"""Known families of reward models: one JSON file each. Data, not code."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from asr_data.errors import ConfigError
from asr_data.scoring.config import ScorerConfig


class Signs(BaseModel):
    """What a checkpoint of the family looks like on disk; all that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architectures: tuple[str, ...] = ()
    """One of them is in the ``architectures`` of config.json."""
    model_types: tuple[str, ...] = ()
    """One of them is the ``model_type``."""
    tensors: tuple[str, ...] = ()
    """All are in the checkpoint."""
    absent: tuple[str, ...] = ()
    """None is in the checkpoint."""
    labels: Annotated[int, Field(ge=1)] | None = None
    """Rows of the head's last weight (the last one of ``tensors`` that ends in ``weight``)."""
    tokens: dict[str, int] = Field(default_factory=dict)
    """Text → id: each text is this one token of the tokenizer."""
    chat_template: bool | None = None
    """Whether the tokenizer has one."""


class Preset(BaseModel):
    """One family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """What ``--preset`` takes: lower case, digits, dots and dashes; also the name of the file."""
    title: str
    models: tuple[str, ...]
    """Hub ids that it was written for."""
    source: str
    """Where the formula stands: a model card or paper."""
    needs: str
    """What the user has to have or give, in a few words."""
    recognised: str
    """Whether ``--kind auto`` tells it: ``yes``, ``no`` or ``by`` what, and why; as in docs/scoring.md."""
    signs: Signs | None
    """None: cannot be told from a checkpoint and must be asked for by name."""
    config: ScorerConfig


@cache
def all_presets() -> dict[str, Preset]:
    """Every preset by name, in order of name."""
    files = sorted(
        (entry for entry in resources.files(__name__).iterdir() if entry.name.endswith(".json")), key=lambda e: e.name
    )
    presets = [Preset.model_validate_json(entry.read_text(encoding="utf-8")) for entry in files]
    return {preset.name: preset for preset in presets}


def find_preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        ConfigError: there is none; lists those that there are.
    """
    presets = all_presets()
    if name not in presets:
        raise ConfigError(f"no preset {name!r}; there are {', '.join(presets)}")
    return presets[name]
