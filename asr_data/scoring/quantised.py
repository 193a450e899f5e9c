"""Quantised checkpoints: read by transformers where the package of their format is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from asr_data.errors import MissingDependencyError, ScorerError

_PACKAGES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "bitsandbytes": (("bitsandbytes", "bitsandbytes"), ("accelerate", "accelerate")),
    "gptq": (("gptqmodel", "gptqmodel"), ("optimum", "optimum")),
    "awq": (("gptqmodel", "gptqmodel"), ("accelerate", "accelerate")),
    "compressed-tensors": (("compressed_tensors", "compressed-tensors"),),
    "fp8": (("accelerate", "accelerate"),),
    "mxfp4": (("accelerate", "accelerate"),),
}
"""Format, as ``quant_method`` of config.json names it → modules that it needs, and their names for pip.

Formats that transformers reads with code of its own or of a listed package; others may fetch kernels from the Hub."""
_DEQUANTISED = {
    "compressed-tensors": {"dequantize": True},
    "fp8": {"dequantize": True},
    "mxfp4": {"dequantize": True},
}
"""Formats whose weights are turned into plain ones as they are read: their fast kernels come from the Hub or need one
kind of GPU."""


def quantised_arguments(config: Any, directory: Path, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for a quantised checkpoint; empty where it is a plain one.

    Raises:
        ScorerError: the format is not one that is read here.
        MissingDependencyError: its package is not installed.
    """
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ScorerError(f"{directory / 'config.json'}: quantization_config is not a JSON object")
    method = _method(settings)
    if method not in _PACKAGES:
        raise ScorerError(
            f"{directory} is quantised with {method!r}, which is not read here; allowed are {', '.join(_PACKAGES)}"
        )
    for module, package in _PACKAGES[method]:
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(
                package, f"{directory}, which is quantised ({method}),", f"pip install {package}"
            )
    if method in _DEQUANTISED:
        config.quantization_config = {**settings, **_DEQUANTISED[method]}
        return {"dtype": dtype}
    return {"dtype": dtype, "device_map": {"": str(device)}}


def _method(settings: Mapping[str, Any]) -> str:
    method = settings.get("quant_method")
    if method is None and (settings.get("load_in_4bit") or settings.get("load_in_8bit")):
        return "bitsandbytes"  # its early checkpoints do not name it
    return str(method).lower()
