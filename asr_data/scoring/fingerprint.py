"""Which files of a model decide its rewards, and one hash over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asr_data.scoring.config import BackboneConfig, PackagedBackbone
from asr_data.scoring.locate import backbone_directory, packaged_file

_DECISIVE = ("*.safetensors", "pytorch_model*.bin", "config.json", "adapter_config.json", "tokenizer*.json", "*.jinja")
"""Files that decide what rewards come out: weights, sizes, scales, tokens and their layout."""


def fingerprint(paths: Iterable[Path], settings: dict[str, Any]) -> str:
    """sha256 over file names, file contents and settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(paths):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def model_files(settings: BackboneConfig, directory: Path) -> list[Path]:
    """The files of a scorer, and those of its backbone where that is elsewhere."""
    files = decisive_files(directory)
    if isinstance(settings.backbone, PackagedBackbone):
        files.append(packaged_file(settings.backbone))
    elif settings.backbone is not None:
        files += decisive_files(backbone_directory(settings.backbone, directory))
    return files


def decisive_files(directory: Path) -> list[Path]:
    """The files of one directory that decide rewards."""
    return [file for pattern in _DECISIVE for file in directory.rglob(pattern)]
