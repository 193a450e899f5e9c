"""How to read a checkpoint: as the user says, as its own settings say, or as the family it is recognised as."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.adapter import CONFIG as ADAPTER_CONFIG
from asr_data.scoring.config import (
    CONFIG_NAME,
    LANGUAGE_KINDS,
    AnswerValueConfig,
    BackboneConfig,
    ContrastConfig,
    ImplicitConfig,
    LanguageModelConfig,
    LogProbabilityConfig,
    PackagedBackbone,
    ScorerConfig,
    read_config,
)
from asr_data.scoring.context_config import ContextConfig, Sides
from asr_data.scoring.locate import BUILTIN, backbone_directory
from asr_data.scoring.model_config import read_json_object
from asr_data.scoring.presets import find_preset
from asr_data.scoring.recognise import recognise
from asr_data.scoring.weights import find_weights

_BY_KIND: Final[dict[str, LanguageModelConfig]] = {
    config.kind: config for config in (ContrastConfig(), LogProbabilityConfig(), AnswerValueConfig())
}
"""Kinds that any causal language model can be read as, with what they do where nothing else is said."""


def find_settings(
    directory: Path,
    preset: str | None,
    config: ScorerConfig | None,
    *,
    kind: str = "auto",
    pickles: bool,
    hub: bool = False,
) -> tuple[ScorerConfig, str]:
    """How to read a checkpoint, and why.

    Args:
        directory: of the checkpoint.
        preset: the family that the user named.
        config: the settings that the user gave.
        kind: that the user asked for.
        pickles: whether weights may come from pickle files.
        hub: whether the base of an adapter may be fetched from the Hub.

    Raises:
        ScorerError: there are no settings, and none can be told from the files.
        ConfigError: there is no such preset.
    """
    if config is not None:
        return config, "settings were given"
    if preset is not None:
        return find_preset(preset).config, f"preset {preset}"
    own = read_config(directory / CONFIG_NAME) if (directory / CONFIG_NAME).is_file() else None
    if kind in _BY_KIND and (own is None or own.kind != kind):
        return _BY_KIND[kind], f"kind {kind} was asked for"
    if own is not None:
        return own, f"its own {CONFIG_NAME}"
    base = adapter_base(directory)
    if base is not None:
        return recognise(backbone_directory(base, directory, hub=hub), adapter=directory, pickles=pickles)
    if not (directory / "config.json").is_file():
        raise ScorerError(f"{directory} has no model: neither {CONFIG_NAME} nor config.json nor {ADAPTER_CONFIG}")
    return recognise(directory, pickles=pickles)


def require_settings(
    directory: Path, preset: str | None, config: ScorerConfig | None, kind: str, *, pickles: bool
) -> None:
    """For a model whose weights may be elsewhere: without them its family cannot be recognised.

    Raises:
        ScorerError: nothing says how to read it.
    """
    is_said = preset is not None or config is not None or kind in _BY_KIND or (directory / CONFIG_NAME).is_file()
    if not is_said and (directory / "config.json").is_file() and not find_weights(directory, pickles=pickles).files:
        raise ScorerError(
            f"{directory} holds no weights, by which a model's family is recognised: say how to read it with --preset, "
            "--scorer-config, or --kind"
        )


def with_asked(
    settings: BackboneConfig,
    *,
    context: ContextConfig | None = None,
    against: ContextConfig | None = None,
    sides: Sides | None = None,
    answer: str | None = None,
) -> BackboneConfig:
    """The settings with what the user asked for in their place; None leaves them.

    Raises:
        ConfigError: a setting that this kind does not have, or an invalid value.
    """
    asked = {"context": context, "against": against, "sides": sides, "answer": answer}
    update = {name: value for name, value in asked.items() if value is not None}
    for name in update:
        if name not in type(settings).model_fields:
            owner = {"against": "contrast", "answer": "answer_value"}[name]
            raise ConfigError(f"--{name} is for kind {owner!r}, and this is a {settings.kind!r} scorer")
    if not update:
        return settings
    try:
        return type(settings).model_validate({**settings.model_dump(), **update})
    except ConfigError as error:
        raise ConfigError(f"{', '.join(f'--{name}' for name in update)}: {error}") from None


def with_builtin(settings: BackboneConfig, model: str) -> BackboneConfig:
    """For ``builtin`` read as a language model: its backbone, without the scorer's adapter and head."""
    if model != "builtin" or not isinstance(settings, LANGUAGE_KINDS) or settings.backbone is not None:
        return settings
    return settings.model_copy(update={"backbone": builtin_backbone()})


def builtin_backbone() -> PackagedBackbone:
    """The language model that the built-in scorer was made from."""
    # The built-in scorer's own settings: a token head on a packaged backbone.
    return read_config(BUILTIN / CONFIG_NAME).backbone  # type: ignore[union-attr, return-value]


def adapter_base(directory: Path) -> str | None:
    """The model that an adapter is for, where a directory holds no weights but an adapter's.

    Raises:
        ScorerError: the adapter does not name it, or the directory holds a whole model, too.
    """
    path = directory / ADAPTER_CONFIG
    if not path.is_file():
        return None
    if find_weights(directory, pickles=True).files:
        raise ScorerError(
            f"{directory} holds a whole model and an adapter: move one of them to a directory of its own, or say in "
            f'{CONFIG_NAME} that they belong together ("adapter": ".")'
        )
    base = read_json_object(path).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ScorerError(f"{path} does not name the model that the adapter is for (base_model_name_or_path)")
    return base


def with_adapter(settings: BackboneConfig, directory: Path) -> BackboneConfig:
    """For a directory that holds nothing but an adapter: its base is the backbone, and the default reference.

    Raises:
        ScorerError: see :func:`adapter_base`.
    """
    if settings.backbone is not None or settings.adapter is not None:
        return settings
    base = adapter_base(directory)
    if base is None:
        return settings
    update: dict[str, Any] = {"backbone": base, "adapter": "."}
    if isinstance(settings, ImplicitConfig) and settings.reference is None:
        update["reference"] = base
    return settings.model_copy(update=update)
