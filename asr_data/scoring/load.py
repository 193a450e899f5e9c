"""From a model's name to a scorer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.checkpoint import (
    backbone_directory,
    fingerprint,
    load_backbone,
    load_head,
    packaged_file,
    quiet_transformers,
    resolve_directory,
)
from asr_data.scoring.config import (
    CONFIG_NAME,
    BackboneConfig,
    ImplicitConfig,
    LabelsConfig,
    LabelTokenConfig,
    PackagedBackbone,
    RuleConfig,
    ScorerConfig,
    ScorerKind,
    SequenceHeadConfig,
    TokenHeadConfig,
    read_config,
)
from asr_data.scoring.engine import Engine, Readout, Runner
from asr_data.scoring.model_scorer import Encoder, ModelScorer
from asr_data.scoring.presets import find_preset
from asr_data.scoring.protocol import Scorer, ScorerInfo
from asr_data.text.tokenizer import Tokenizer, load_tokenizer

BUILTIN = Path(__file__).parent / "builtin"
_DECISIVE = ("*.safetensors", "pytorch_model*.bin", "config.json", "adapter_config.json", "tokenizer*.json", "*.jinja")
"""Files that decide what rewards come out: weights, sizes, scales, tokens and their layout."""


def load_scorer(
    model: str | Path = "builtin",
    kind: Literal["auto"] | ScorerKind = "auto",
    *,
    preset: str | None = None,
    config: ScorerConfig | None = None,
    reference: str | Path | None = None,
    scoring: ScoringConfig = ScoringConfig(),  # noqa: B008 - frozen
    revision: str | None = None,
    allow_pickle: bool = False,
) -> Scorer:
    """Load a reward model.

    Args:
        model: ``builtin``, a directory, or a hub id; an import path ``package.module:function`` for kind ``rule``;
            not used for kind ``labels``.
        kind: how to read it. ``auto`` takes what its ``asr_scorer.json`` says, or recognises the checkpoint.
        preset: the name of a known family (``asr-annotate scorers`` lists them) whose settings are used.
        config: settings that stand in for ``asr_scorer.json``.
        reference: the reference model of kind ``implicit``.
        scoring: dtype, device, batch budget.
        revision: of a hub id.
        allow_pickle: read weights from pickle files where there are no safetensors, with
            ``torch.load(weights_only=True)``: it makes tensors and runs no code.

    Raises:
        ScorerError: the checkpoint cannot be read as a reward model.
        ConfigError: an option cannot be right.
    """
    if config is not None and preset is not None:
        raise ConfigError("give either a preset or settings, not both")
    if config is None and kind == "labels":
        if str(model) != "builtin":
            raise ConfigError(f"kind 'labels' takes the data set's own labels and no model; leave out {model}")
        config = LabelsConfig()
    elif config is None and kind == "rule":
        config = RuleConfig(function=str(model))
    if isinstance(config, LabelsConfig | RuleConfig):
        return _without_model(config, kind)
    directory = _directory(str(model), revision, pickles=allow_pickle)
    settings, reason = _settings(directory, preset, config, pickles=allow_pickle)
    if kind not in ("auto", settings.kind):
        raise ConfigError(f"{model} is a {settings.kind!r} scorer, but kind {kind!r} was asked for")
    if isinstance(settings, LabelsConfig | RuleConfig):
        raise ScorerError(f"{directory}: kind {settings.kind!r} is asked for by name, never by a model's own settings")
    settings = _with_adapter(settings, directory)
    if reference is not None:
        if not isinstance(settings, ImplicitConfig):
            raise ConfigError(f"a reference is for kind 'implicit'; {model} is a {settings.kind!r} scorer")
        settings = settings.model_copy(update={"reference": str(reference)})
    return _model_scorer(settings, directory, str(model), scoring, reason, pickles=allow_pickle)


@dataclass(frozen=True, slots=True)
class Decoder:
    """A loaded backbone.

    Attributes:
        model: on its device, in its dtype.
        directory: where the scorer's files are.
        extra: names of the checkpoint's tensors that the backbone did not take, those of an ``lm_head`` left out.
        hidden: size of the last hidden state.
        pickles: whether weights may come from pickle files.
    """

    model: nn.Module
    directory: Path
    extra: frozenset[str]
    hidden: int
    device: torch.device
    pickles: bool = False


def _model_scorer(
    settings: BackboneConfig, directory: Path, name: str, scoring: ScoringConfig, reason: str, *, pickles: bool
) -> ModelScorer:
    device = pick_device(scoring.device)
    dtype = pick_dtype(scoring.dtype, device)
    tokenizer = _tokenizer(settings, directory, name)
    decoder = _decoder(settings, directory, device, dtype, pickles=pickles)
    if isinstance(settings, SequenceHeadConfig):
        settings = _normalized(settings, decoder.model)
    asked = scoring.batch_tokens
    batch_tokens = default_batch_tokens(decoder.model) if asked == "auto" else asked
    encoder, runner = _kind(settings, decoder, tokenizer, dtype, batch_tokens)
    facts: Mapping[str, Any] = {
        **settings.model_dump(mode="json", exclude={"backbone", "adapter", "reference"}, exclude_defaults=True),
        "recognised": reason,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
        "batch_tokens": batch_tokens,
        "attention": runner.attention,
    }
    files = _files(settings, directory)
    if isinstance(settings, ImplicitConfig) and settings.reference is not None:
        files += _decisive(backbone_directory(settings.reference, directory))
    info = ScorerInfo(
        name=name,
        kind=settings.kind,
        form=settings.form,
        fingerprint=fingerprint(files, settings.model_dump(mode="json")),
        settings=facts,
    )
    return ModelScorer(encoder, runner, tokenizer, info, max_length=_max_length(decoder.model, scoring, name))


@dataclass(frozen=True, slots=True)
class OpenedBackbone:
    """A language model without a reward head of its own."""

    settings: BackboneConfig
    decoder: Decoder
    tokenizer: Tokenizer
    fingerprint: str
    max_length: int


def open_backbone(model: str, scoring: ScoringConfig) -> OpenedBackbone:
    """Load a language model by name; ``builtin`` is the built-in scorer's backbone without its adapter.

    Raises:
        ScorerError: the model cannot be loaded.
    """
    device = pick_device(scoring.device)
    backbone = None
    if model == "builtin":
        builtin = read_config(BUILTIN / CONFIG_NAME)
        backbone = builtin.backbone if isinstance(builtin, TokenHeadConfig) else None
    settings = ImplicitConfig(backbone=backbone)
    directory = BUILTIN if model == "builtin" else resolve_directory(model)
    decoder = _decoder(settings, directory, device, pick_dtype(scoring.dtype, device), pickles=False)
    files = _files(settings, directory) if backbone is None else [packaged_file(backbone)]  # type: ignore[arg-type] # of a package
    return OpenedBackbone(
        settings=settings,
        decoder=decoder,
        tokenizer=_tokenizer(settings, directory, model),
        fingerprint=fingerprint(files, {}),
        max_length=_max_length(decoder.model, scoring, model),
    )


def _decoder(
    settings: BackboneConfig, directory: Path, device: torch.device, dtype: torch.dtype, *, pickles: bool
) -> Decoder:
    backbone, extra = load_backbone(settings, directory, pickles=pickles)
    hidden = int(backbone.config.get_text_config().hidden_size)  # type: ignore[union-attr, operator] # HF models
    return Decoder(backbone.to(device, dtype).eval(), directory, frozenset(extra), hidden, device, pickles)


def _kind(
    settings: BackboneConfig, decoder: Decoder, tokenizer: Tokenizer, dtype: torch.dtype, batch_tokens: int
) -> tuple[Encoder, Runner]:
    """How a kind asks, and what answers."""
    encoder: Encoder
    readout: Readout
    match settings:
        case TokenHeadConfig():
            from asr_data.scoring.token_head import TokenHeadEncoder, TokenHeadReadout

            head = load_head(
                settings.head, decoder.directory, set(decoder.extra), decoder.hidden, pickles=decoder.pickles
            )
            encoder = TokenHeadEncoder(tokenizer, settings)
            readout = TokenHeadReadout(head.to(decoder.device), settings)
        case SequenceHeadConfig():
            from asr_data.scoring.sequence_head import SequenceHeadEncoder, SequenceHeadReadout

            head = load_head(
                settings.head, decoder.directory, set(decoder.extra), decoder.hidden, pickles=decoder.pickles
            )
            encoder = SequenceHeadEncoder(tokenizer, settings)
            readout = SequenceHeadReadout(head.to(decoder.device), settings)
        case LabelTokenConfig():
            from asr_data.scoring.label_tokens import LabelTokenEncoder, label_token_readout

            encoder = LabelTokenEncoder(tokenizer, settings)
            readout = label_token_readout(settings, decoder, tokenizer)
        case ImplicitConfig():
            from asr_data.scoring.implicit import ImplicitEncoder, implicit_runner

            encoder = ImplicitEncoder(tokenizer, settings)
            reference = _reference(settings, decoder, dtype)
            return encoder, implicit_runner(settings, decoder, reference, batch_tokens=batch_tokens)
    return encoder, Engine(decoder.model, readout, batch_tokens=batch_tokens)


def _normalized(settings: SequenceHeadConfig, model: nn.Module) -> SequenceHeadConfig:
    """The settings with the checkpoint's own mean and standard deviation where they ask for them."""
    found = {name: getattr(model.config, name, default) for name, default in (("mean", 0.0), ("std", 1.0))}
    asked = {name: float(value) for name, value in found.items() if getattr(settings, name) == "config"}
    return SequenceHeadConfig.model_validate({**settings.model_dump(), **asked})


def _reference(settings: ImplicitConfig, policy: Decoder, dtype: torch.dtype) -> Decoder:
    if settings.reference is None:
        raise ConfigError("kind 'implicit' needs the model that the policy was trained from: give it as the reference")
    directory = backbone_directory(settings.reference, policy.directory)
    plain = ImplicitConfig(reference=settings.reference)
    return _decoder(plain, directory, policy.device, dtype, pickles=policy.pickles)


def _without_model(config: LabelsConfig | RuleConfig, kind: str) -> Scorer:
    if kind not in ("auto", config.kind):
        raise ConfigError(f"the settings are of kind {config.kind!r}, but kind {kind!r} was asked for")
    if isinstance(config, LabelsConfig):
        from asr_data.scoring.labels import LabelScorer

        return LabelScorer(config)
    from asr_data.scoring.rule import load_rule

    return load_rule(config)


def _max_length(backbone: nn.Module, scoring: ScoringConfig, name: str) -> int:
    settings = backbone.config.get_text_config()  # type: ignore[union-attr, operator] # HF models
    context = getattr(settings, "max_position_embeddings", None)  # some have none: ALiBi, state spaces
    lengths = [int(length) for length in (scoring.max_length, context) if length]
    if not lengths:
        raise ConfigError(f"{name} does not say how long its context is; set max_length")
    return min(lengths)


def pick_device(device: str) -> torch.device:
    """``auto`` takes the GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """``auto`` takes bfloat16 where the hardware multiplies it, else float32."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if fast else torch.float32


def load_scorer_tokenizer(model: str) -> Tokenizer:
    """The tokenizer of a scorer, without its weights."""
    directory = _directory(model, None, pickles=False)
    if not (directory / CONFIG_NAME).is_file():
        return _tokenizer(_with_adapter(ImplicitConfig(), directory), directory, model)
    settings = read_config(directory / CONFIG_NAME)
    if isinstance(settings, LabelsConfig | RuleConfig):
        raise ScorerError(f"{directory}: kind {settings.kind!r} has no tokenizer")
    return _tokenizer(settings, directory, model)


def _directory(model: str, revision: str | None, *, pickles: bool) -> Path:
    return BUILTIN if model == "builtin" else resolve_directory(model, revision, pickles=pickles)


def _settings(
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
            f"{directory} holds no model: neither {CONFIG_NAME} nor config.json (how an adapter is read is said with "
            "--preset)"
        )
    from asr_data.scoring.recognise import recognise

    return recognise(directory, pickles=pickles)


def _with_adapter(settings: BackboneConfig, directory: Path) -> BackboneConfig:
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


def _tokenizer(settings: BackboneConfig, directory: Path, name: str) -> Tokenizer:
    if isinstance(settings.backbone, PackagedBackbone):
        path = packaged_file(settings.backbone)
        with quiet_transformers():
            return load_tokenizer(path.parent, gguf_file=path.name, name=name)
    if settings.backbone is None or (directory / "tokenizer.json").is_file():
        return load_tokenizer(directory, name=name)
    return load_tokenizer(backbone_directory(settings.backbone, directory), name=name)


def _files(settings: BackboneConfig, directory: Path) -> list[Path]:
    files = _decisive(directory)
    if isinstance(settings.backbone, PackagedBackbone):
        files.append(packaged_file(settings.backbone))
    elif settings.backbone is not None:
        files += _decisive(backbone_directory(settings.backbone, directory))
    return files


def _decisive(directory: Path) -> list[Path]:
    return [file for pattern in _DECISIVE for file in directory.rglob(pattern)]
