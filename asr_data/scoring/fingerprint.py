"""Which files of a model decide its rewards, and one hash over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asr_data.file_hashes import FileHashes
from asr_data.scoring.adapter import CONFIG as ADAPTER_CONFIG
from asr_data.scoring.config import BackboneConfig, PackagedBackbone
from asr_data.scoring.locate import inside, packaged_file
from asr_data.scoring.weights import ADAPTER, find_weights

_DECISIVE = ("config.json", "tokenizer*.json", "*.jinja")
"""Files beside the weights that decide sizes, scales, tokens and their layout."""


def fingerprint(paths: Iterable[Path], settings: dict[str, Any], hashes: FileHashes) -> str:
    """sha256 over file names, file contents and settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(set(paths)):
        digest.update(path.name.encode())
        digest.update(hashes.sha256(path))
    return digest.hexdigest()


def model_files(settings: BackboneConfig, directory: Path, checkpoint: Path | None, *, pickles: bool) -> list[Path]:
    """The files of a scorer.

    Args:
        settings: of the scorer.
        directory: where its files are.
        checkpoint: where its backbone's weights are, as in :class:`asr_data.scoring.decoder.Decoder`.
        pickles: whether weights may come from pickle files.
    """
    files = decisive_files(directory, pickles=pickles)
    if isinstance(settings.backbone, PackagedBackbone):
        files.append(packaged_file(settings.backbone))
    elif checkpoint is not None and checkpoint != directory:
        files += decisive_files(checkpoint, pickles=pickles)
    if settings.adapter is not None:
        adapter = inside(directory, settings.adapter)
        files += [adapter / ADAPTER_CONFIG, adapter / ADAPTER]
    head = getattr(settings, "head", None)
    if head is not None and head.file is not None:
        files.append(inside(directory, head.file))
    return files


def decisive_files(directory: Path, *, pickles: bool) -> list[Path]:
    """The files of one directory that decide rewards."""
    beside = [file for pattern in _DECISIVE for file in directory.glob(pattern)]
    return [*find_weights(directory, pickles=pickles).files, *beside]
