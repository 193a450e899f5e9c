"""The tokenizer that belongs to a reward model."""

from __future__ import annotations

from pathlib import Path

from asr_data.scoring.config import BackboneConfig, PackagedBackbone
from asr_data.scoring.locate import backbone_directory, packaged_file
from asr_data.scoring.quiet import quiet_transformers
from asr_data.text.gguf import load_gguf_tokenizer
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
    """
    if isinstance(settings.backbone, PackagedBackbone):
        with quiet_transformers():
            return load_gguf_tokenizer(packaged_file(settings.backbone), name, cache=cache)
    if settings.backbone is None or (directory / "tokenizer.json").is_file():
        return load_tokenizer(directory, name=name)
    return load_tokenizer(backbone_directory(settings.backbone, directory, hub=hub), name=name)
