"""The tokenizer that belongs to a reward model."""

from __future__ import annotations

from pathlib import Path

from asr_data.scoring.config import BackboneConfig, PackagedBackbone
from asr_data.scoring.locate import backbone_directory, packaged_file
from asr_data.scoring.quiet import quiet_transformers
from asr_data.text.tokenizer import Tokenizer, load_tokenizer


def scorer_tokenizer(settings: BackboneConfig, directory: Path, name: str) -> Tokenizer:
    """Load the tokenizer beside a scorer's settings, or else its backbone's.

    Raises:
        ConfigError: it cannot be loaded.
    """
    if isinstance(settings.backbone, PackagedBackbone):
        path = packaged_file(settings.backbone)
        with quiet_transformers():
            return load_tokenizer(path.parent, gguf_file=path.name, name=name)
    if settings.backbone is None or (directory / "tokenizer.json").is_file():
        return load_tokenizer(directory, name=name)
    return load_tokenizer(backbone_directory(settings.backbone, directory), name=name)
