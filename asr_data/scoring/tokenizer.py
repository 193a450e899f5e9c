"""The tokenizer that belongs to a reward model."""

from __future__ import annotations

from pathlib import Path

from asr_data.scoring.config import BackboneConfig, PackagedBackbone
from asr_data.scoring.locate import backbone_directory, packaged_file
from asr_data.scoring.model_config import read_model_config
from asr_data.scoring.quiet import quiet_transformers
from asr_data.text.gguf import gguf_tokenizer
from asr_data.text.tokenizer import Tokenizer, load_tokenizer


def scorer_tokenizer(
    settings: BackboneConfig, directory: Path, name: str, *, hub: bool = False, cache: bool = True
) -> Tokenizer:
    """Load the tokenizer beside a scorer's settings, or else its backbone's.

    Args:
        settings: of the scorer.
        directory: where its files are.
        name: what to call it.
        hub: whether a backbone that the settings name may be fetched from the Hub.
        cache: whether a packaged one may be kept in the user's cache.

    Raises:
        ConfigError: it cannot be loaded.
        ScorerError: the config.json beside it is invalid.
    """
    if isinstance(settings.backbone, PackagedBackbone):
        with quiet_transformers():
            return Tokenizer(gguf_tokenizer(packaged_file(settings.backbone), cache=cache), name)
    folder = directory
    if settings.backbone is not None and not (directory / "tokenizer.json").is_file():
        folder = backbone_directory(settings.backbone, directory, hub=hub)
    if (folder / "config.json").is_file():
        read_model_config(folder)  # transformers reads it for the tokenizer, and raises anything
    return load_tokenizer(folder, name=name)
