"""From a model's name to a scorer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.checkpoint import (
    backbone_directory,
    fingerprint,
    load_backbone,
    load_head,
    packaged_file,
    quiet_transformers,
    resolve_directory,
)
from asr_data.scoring.config import CONFIG_NAME, PackagedBackbone, TokenHeadConfig, read_config
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.token_head import TokenHeadScorer, TokenRewardModel
from asr_data.text.tokenizer import Tokenizer, load_tokenizer

BUILTIN = Path(__file__).parent / "builtin"
_DECISIVE = ("*.safetensors", "config.json", "adapter_config.json", "tokenizer*.json", "*.jinja")
"""Files that decide what rewards come out: weights, sizes, scales, tokens and their layout."""
_BATCH_TOKENS = {"cpu": 4096, "cuda": 65536, "mps": 16384}


def load_scorer(
    model: str | Path = "builtin",
    kind: Literal["auto", "token_head"] = "auto",
    *,
    config: TokenHeadConfig | None = None,
    scoring: ScoringConfig = ScoringConfig(),  # noqa: B008 - frozen
    revision: str | None = None,
) -> TokenHeadScorer:
    """Load a reward model.

    Args:
        model: ``builtin``, a directory, or a hub id.
        kind: how to read it; ``auto`` takes what its ``asr_scorer.json`` says.
        config: settings that stand in for ``asr_scorer.json``.
        scoring: dtype, device, batch budget.
        revision: of a hub id.

    Raises:
        ScorerError: the checkpoint cannot be read as a reward model.
        ConfigError: an option cannot be right.
    """
    directory = _directory(str(model), revision)
    settings = config or _settings(directory)
    if kind not in ("auto", settings.kind):
        raise ConfigError(f"{model} is a {settings.kind!r} scorer, but kind {kind!r} was asked for")
    device = pick_device(scoring.device)
    dtype = pick_dtype(scoring.dtype, device)
    backbone, extra = load_backbone(settings, directory)
    hidden = int(backbone.config.get_text_config().hidden_size)  # type: ignore[union-attr, operator] # HF models
    head = load_head(settings.head, directory, extra, hidden)
    tokenizer = _tokenizer(settings, directory, str(model))
    reward_model = TokenRewardModel(backbone.to(device, dtype), head.to(device)).eval()
    batch_tokens = _BATCH_TOKENS.get(device.type, 4096) if scoring.batch_tokens == "auto" else scoring.batch_tokens
    info = ScorerInfo(
        name=str(model),
        kind=settings.kind,
        form=settings.form,
        fingerprint=fingerprint(_files(settings, directory), settings.model_dump(mode="json")),
        settings={
            "transform": settings.transform,
            "position": settings.position,
            "dtype": str(dtype).removeprefix("torch."),
            "device": device.type,
            "batch_tokens": batch_tokens,
        },
    )
    return TokenHeadScorer(
        reward_model,
        tokenizer,
        settings,
        info,
        batch_tokens=batch_tokens,
        max_length=_max_length(backbone, scoring, str(model)),
    )


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
    directory = _directory(model, None)
    return _tokenizer(_settings(directory), directory, model)


def _directory(model: str, revision: str | None) -> Path:
    return BUILTIN if model == "builtin" else resolve_directory(model, revision)


def _settings(directory: Path) -> TokenHeadConfig:
    if (directory / CONFIG_NAME).is_file():
        return read_config(directory / CONFIG_NAME)
    if not (directory / "config.json").is_file():
        raise ScorerError(f"{directory} holds no model: neither {CONFIG_NAME} nor config.json")
    example: dict[str, Any] = TokenHeadConfig().model_dump(mode="json", exclude={"backbone", "adapter", "separator"})
    raise ScorerError(
        f"{directory} does not say how its head is read; put a {CONFIG_NAME} beside its config.json, for example "
        f"{json.dumps(example)}"
    )


def _tokenizer(settings: TokenHeadConfig, directory: Path, name: str) -> Tokenizer:
    if isinstance(settings.backbone, PackagedBackbone):
        path = packaged_file(settings.backbone)
        with quiet_transformers():
            return load_tokenizer(path.parent, gguf_file=path.name, name=name)
    if settings.backbone is None or (directory / "tokenizer.json").is_file():
        return load_tokenizer(directory, name=name)
    return load_tokenizer(backbone_directory(settings.backbone, directory), name=name)


def _files(settings: TokenHeadConfig, directory: Path) -> list[Path]:
    files = [file for pattern in _DECISIVE for file in directory.rglob(pattern)]
    if isinstance(settings.backbone, PackagedBackbone):
        files.append(packaged_file(settings.backbone))
    elif settings.backbone is not None:
        backbone = backbone_directory(settings.backbone, directory)
        files += [file for pattern in _DECISIVE for file in backbone.rglob(pattern)]
    return files
