"""What is known on this machine of a model that a server runs: its settings, its tokenizer, perhaps its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from asr_data.config import ScoringConfig
from asr_data.engines import EngineRole, ServedModel
from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.asked import Asked
from asr_data.scoring.config import BackboneConfig, PackagedBackbone, SequenceHeadConfig, TokenHeadConfig
from asr_data.scoring.decoder import pick_device
from asr_data.scoring.head import load_head
from asr_data.scoring.locate import backbone_directory, inside
from asr_data.scoring.model_config import read_model_config
from asr_data.scoring.model_scorer import ModelScorer
from asr_data.scoring.weights import find_weights, shapes
from asr_data.text.tokenizer import Tokenizer

_SHARE_OF_MEMORY: Final = 0.5
"""Of what a machine has; a server on the same machine needs some, too."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for beside the model's own settings.

    Attributes:
        asked: the same of a model that is loaded here.
        engines: servers by role.
        own: loads the same scorer here.
    """

    asked: Asked
    engines: Mapping[EngineRole, ServedModel]
    own: Callable[[], ModelScorer]


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """A model's files here.

    Attributes:
        directory: of its settings.
        checkpoint: of its config.json and, if they are here, its weights.
        vocabulary: how many token ids it has embeddings for.
        context: its longest sequence, or less where the user says so; None where neither is known.
        hidden: size of its last hidden state; None without config.json.
        config: of the model, from config.json.
    """

    directory: Path
    checkpoint: Path
    vocabulary: int
    context: int | None
    hidden: int | None = None
    config: Any = None


def look_here(
    settings: BackboneConfig, directory: Path, tokenizer: Tokenizer, scoring: ScoringConfig, *, hub: bool
) -> LocalFiles:
    """What the files say; only config.json is read.

    Args:
        settings: of the scorer.
        directory: of its files.
        tokenizer: of the model.
        scoring: longest row.
        hub: whether a backbone that the settings name may be fetched from the Hub.
    """
    asked = scoring.max_length
    if isinstance(settings.backbone, PackagedBackbone):
        return LocalFiles(directory, directory, len(tokenizer.hf), asked)
    named = settings.backbone
    checkpoint = directory if named is None else backbone_directory(named, directory, hub=hub)
    if not (checkpoint / "config.json").is_file():
        return LocalFiles(directory, checkpoint, len(tokenizer.hf), asked)
    config = read_model_config(checkpoint)
    text = config.get_text_config()
    context = getattr(text, "max_position_embeddings", None)
    lengths = [int(length) for length in (asked, context) if length]
    return LocalFiles(
        directory, checkpoint, int(text.vocab_size), min(lengths, default=None), int(text.hidden_size), config
    )


def with_own_scale(settings: SequenceHeadConfig, files: LocalFiles) -> SequenceHeadConfig:
    """The settings with the checkpoint's own mean and standard deviation where they ask for them.

    Raises:
        ScorerError: there is no config.json, or it holds an invalid one.
    """
    values = {name: getattr(files.config, name, default) for name, default in (("mean", 0.0), ("std", 1.0))}
    asked = {name: value for name, value in values.items() if getattr(settings, name) == "config"}
    if asked and files.config is None:
        raise ScorerError(f"{files.checkpoint} has no config.json, which holds mean and std of this model's rewards")
    try:
        return SequenceHeadConfig.model_validate({**settings.model_dump(), **asked})
    except ConfigError as error:
        raise ScorerError(f"config.json in {files.checkpoint}: {error}") from error


def own_head(settings: TokenHeadConfig | SequenceHeadConfig, files: LocalFiles, *, pickles: bool) -> nn.Module | None:
    """The head, where its tensors are at hand; the decoder's are not read."""
    config = settings.head
    if files.hidden is None:
        return None
    adapter = None if settings.adapter is None else inside(files.directory, settings.adapter)
    names: set[str] = set()
    if config.prefix and find_weights(files.checkpoint, pickles=pickles).files:
        names = {name for name in shapes(files.checkpoint, pickles=pickles) if name.startswith(config.prefix)}
    if config.file is None and adapter is None and not names:
        return None
    return load_head(
        config,
        files.directory,
        names,
        files.hidden,
        checkpoint=files.checkpoint,
        adapter=adapter,
        pickles=pickles,
    )


def can_run_here(
    settings: Sequence[BackboneConfig], files: Sequence[LocalFiles], scoring: ScoringConfig, *, pickles: bool
) -> bool:
    """Whether the weights of all models are at hand and fit into half of the device's memory together."""
    size = 0
    for one, local in zip(settings, files, strict=True):
        if isinstance(one.backbone, PackagedBackbone):
            continue  # small, and part of the installation
        weights = find_weights(local.checkpoint, pickles=pickles).files
        if not weights:
            return False
        size += sum(path.stat().st_size for path in weights)
    if pick_device(scoring.device).type == "cuda":
        return size < _SHARE_OF_MEMORY * torch.cuda.mem_get_info()[0]
    wider = 1 if scoring.dtype in ("bfloat16", "float16") else 2  # float32 of what is stored in half of it
    return wider * size < _SHARE_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
