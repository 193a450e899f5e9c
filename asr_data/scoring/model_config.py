"""A checkpoint's ``config.json`` as transformers knows it, without what would run or fetch anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asr_data.errors import ScorerError
from asr_data.scoring.quiet import quiet_transformers

_NOT_DATA = (
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "experts_implementation",
    "fusion_config",
    "kernel_config",
    "name_or_path",
    "transformers_weights",
    "use_kernels",
)
"""What a file that came with a model must not decide, with and without ``_`` in front: attention and expert kernels
can be names of Hub repositories with code, and so can an ``auto_map``; ``transformers_weights`` names other weights."""


def read_model_config(directory: Path) -> Any:
    """The model's settings as a ``transformers.PreTrainedConfig``, with sizes that can be right.

    Only ``config.json`` is read.

    Raises:
        ScorerError: it is missing, cannot be read, or is of a type that this transformers does not know.
    """
    path = directory / "config.json"
    settings = read_json_object(path)
    kind = settings.get("model_type")
    if not isinstance(kind, str):
        raise ScorerError(f"{path} names no model_type")
    import transformers
    from transformers import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        raise ScorerError(
            f"{path}: transformers {transformers.__version__} has no model of type {kind!r}, and code that comes with "
            "a model is not run"
        )
    try:
        with quiet_transformers():
            config = CONFIG_MAPPING[kind].from_dict(_data_only(settings))
        sizes = {name: int(getattr(config.get_text_config(), name)) for name in ("hidden_size", "vocab_size")}
    except Exception as error:  # each family checks its settings in its own way, and may raise anything
        raise ScorerError(
            f"{path}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else kind}"
        ) from error
    if min(sizes.values()) < 1:
        raise ScorerError(f"{path}: sizes must be positive: {sizes}")
    return config


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        ScorerError: it is missing, or anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ScorerError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ScorerError(f"{path} is not a JSON object")
    return content


def _data_only(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _data_only(value) for key, value in node.items() if str(key).lstrip("_") not in _NOT_DATA}
    return [_data_only(value) for value in node] if isinstance(node, list) else node
