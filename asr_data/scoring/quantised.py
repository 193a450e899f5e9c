"""Quantised checkpoints: read by transformers where the package of their format is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.model_config import read_json_object

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


_DESCRIBED = ("bits", "load_in_8bit", "load_in_4bit", "bnb_4bit_quant_type", "format", "group_size")

_ELSEWHERE: Mapping[str, str] = {
    "aqlm": "the package aqlm and an NVIDIA GPU",
    "eetq": "kernels from the Hub and an NVIDIA GPU",
    "fbgemm_fp8": "the package fbgemm-gpu and an NVIDIA GPU of compute capability 9.0",
    "higgs": "the package flute-kernel and an NVIDIA GPU of compute capability 8.0",
    "hqq": "the package hqq",
    "quanto": "the package optimum-quanto",
    "spqr": "the package spqr_quant and an NVIDIA GPU",
    "torchao": "the package torchao",
    "vptq": "the package vptq and an NVIDIA GPU",
}
"""Formats that transformers knows and that were never tried here, and what they need."""


def quantiser(checkpoint: Path | None) -> dict[str, dict[str, Any]]:
    """For the manifest: how a checkpoint is quantised and what reads it; empty where it is plain.

    Args:
        checkpoint: the directory of the weights.
    """
    if checkpoint is None or not (checkpoint / "config.json").is_file():
        return {}
    settings = read_json_object(checkpoint / "config.json").get("quantization_config")
    if not isinstance(settings, dict):
        return {}
    method = _method(settings)
    packages = [package for _, package in _PACKAGES.get(method, ())]
    kept = {
        name: settings[name] for name in _DESCRIBED if settings.get(name) and type(settings[name]) in (str, int, bool)
    }
    return {
        "quantised": {
            "method": method,
            **kept,
            "runs": "as plain weights" if method in _DEQUANTISED else "quantised",
            "packages": {name: version(name) for name in packages},
        }
    }


def quantised_arguments(config: Any, directory: Path, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for a quantised checkpoint; empty where it is a plain one.

    Raises:
        ScorerError: the format is not one that is read here, or not on this device.
        MissingDependencyError: its package is not installed.
    """
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ScorerError(f"{directory / 'config.json'}: quantization_config is not a JSON object")
    method = _method(settings)
    if method not in _PACKAGES:
        needs = f" (it needs {_ELSEWHERE[method]})" if method in _ELSEWHERE else ""
        raise ScorerError(
            f"{directory} is quantised with {method!r}, which is not read here{needs}; allowed are "
            f"{', '.join(_PACKAGES)}"
        )
    if method == "bitsandbytes" and device.type == "mps":
        raise ScorerError(
            f"{directory} is quantised with bitsandbytes, which fetches code from the Hub on an Apple GPU and is not "
            "run there; use --device cpu"
        )
    for module, package in _PACKAGES[method]:
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(
                package, f"{directory}, which is quantised ({method}),", f"pip install {package}"
            )
    if method == "bitsandbytes":
        import_without_kernels("bitsandbytes")
    if method in _DEQUANTISED:
        config.quantization_config = {**settings, **_DEQUANTISED[method]}
        return {"dtype": dtype}
    return {"dtype": dtype, "device_map": {"": str(device)}}


def import_without_kernels(module: str) -> None:
    """Import a package that, while it is imported, fetches code from the Hub where the package ``kernels`` is there.

    It then uses what it brings itself.
    """
    if module in sys.modules:
        return
    before = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment] # to import it is then an ImportError
    try:
        importlib.import_module(module)
    finally:
        del sys.modules["kernels"]
        if before is not None:  # transformers imports it too
            sys.modules["kernels"] = before


def _method(settings: Mapping[str, Any]) -> str:
    method = settings.get("quant_method")
    if method is None and (settings.get("load_in_4bit") or settings.get("load_in_8bit")):
        return "bitsandbytes"  # its early checkpoints do not name it
    return str(method).lower()
