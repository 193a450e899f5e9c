"""How to read a checkpoint: as the user says, as its own settings say, or by the family it is recognised as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asr_data.errors import ScorerError
from asr_data.scoring.config import CONFIG_NAME, BackboneConfig, ImplicitConfig, ScorerConfig, read_config
from asr_data.scoring.presets import find_preset
from asr_data.scoring.recognise import recognise


def find_settings(
    directory: Path, preset: str | None, config: ScorerConfig | None, *, pickles: bool
) -> tuple[ScorerConfig, str]:
    """How to read a checkpoint, and why."""
    if config is not None:
        return config, "settings were given"
    if preset is not None:
        return find_preset(preset).config, f"preset {preset}"
    if (directory / CONFIG_NAME).is_file():
        return read_config(directory / CONFIG_NAME), f"its own {CONFIG_NAME}"
    if not (directory / "config.json").is_file():
        raise ScorerError(
            f"{directory} has no model: neither {CONFIG_NAME} nor config.json (for an adapter alone, --preset says how "
            "to read it)"
        )
    return recognise(directory, pickles=pickles)


def with_adapter(settings: BackboneConfig, directory: Path) -> BackboneConfig:
    """For a directory that holds nothing but an adapter: its base is the backbone, and the default reference."""
    path = directory / "adapter_config.json"
    if (directory / "config.json").is_file() or not path.is_file() or settings.backbone is not None:
        return settings
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScorerError(f"{path} does not name the model that the adapter is for: {error!r}") from error
    update: dict[str, Any] = {"backbone": base, "adapter": "."}
    if isinstance(settings, ImplicitConfig) and settings.reference is None:
        update["reference"] = base
    return settings.model_copy(update=update)
