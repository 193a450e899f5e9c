"""Decoder weights from disk.

transformers drops a head without a word (``AutoModel``) or invents one (``AutoModelForTokenClassification``), and
remote code of process reward models loads wrong on transformers 5. So the backbone is loaded natively, the head
from the checkpoint's own tensors (:mod:`asr_data.scoring.head`), and every tensor must be accounted for.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from contextlib import redirect_stderr
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.config import BackboneConfig, PackagedBackbone
from asr_data.scoring.locate import backbone_directory, inside, packaged_file
from asr_data.scoring.quiet import quiet_transformers
from asr_data.scoring.weights import no_weights, shapes, weight_files

_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


def load_backbone(config: BackboneConfig, directory: Path, *, pickles: bool = False) -> tuple[nn.Module, set[str]]:
    """Load the decoder in float32, adapter merged.

    Returns:
        The backbone, and the names of the checkpoint's tensors that are not its own (the head's).

    Raises:
        ScorerError: tensors are missing, or the directory is not a model.
    """
    if isinstance(config.backbone, PackagedBackbone):
        model, extra = _load_gguf(packaged_file(config.backbone)), set[str]()
    else:
        source = directory if config.backbone is None else backbone_directory(config.backbone, directory)
        model, extra = _load_native(source, pickles=pickles)
    if config.adapter is not None:
        model = _merge_adapter(model, inside(directory, config.adapter))
    return model.eval(), extra


def _load_gguf(path: Path) -> nn.Module:
    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "a GGUF backbone", "pip install 'asr-data[builtin]'")
    from transformers import AutoModel, GgufConfig

    # Its bar cannot be turned off, and a log is no place for it; what goes wrong is raised.
    with quiet_transformers(), redirect_stderr(io.StringIO()):
        model: nn.Module = AutoModel.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            trust_remote_code=False,
        )
    return model


def _load_native(directory: Path, *, pickles: bool) -> tuple[nn.Module, set[str]]:
    from transformers import AutoModel

    files = weight_files(directory, pickles=pickles)
    if not files and (directory / "config.json").is_file():
        raise ScorerError(no_weights(directory))

    try:
        with quiet_transformers():
            model, info = AutoModel.from_pretrained(
                directory,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=not any(path.suffix == ".bin" for path in files),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise ScorerError(f"cannot load a model from {directory}: {error}") from error
    missing = sorted(info["missing_keys"])
    wrong = sorted(str(key) for key in info["mismatched_keys"])
    if missing or wrong:
        raise ScorerError(
            f"the checkpoint in {directory} does not fit its backbone: missing {missing[:5]}, mismatched {wrong[:5]}"
        )
    return model, {key for key in info["unexpected_keys"] if not key.startswith("lm_head.")}


def _merge_adapter(model: nn.Module, directory: Path) -> nn.Module:
    if importlib.util.find_spec("peft") is None:
        raise MissingDependencyError("peft", "an adapter", "pip install 'asr-data[builtin]'")
    from peft import PeftConfig, PeftModel

    if not (directory / "adapter_config.json").is_file():
        raise ScorerError(f"no adapter at {directory}")
    names = shapes(directory, pickles=False)
    # An adapter of a language model names the decoder as its part; a decoder's own does not.
    around = any(name.startswith("base_model.model.model.") for name in names)
    if any("lm_head" in name for name in names):
        raise ScorerError(
            f"the adapter in {directory} changes the language-model head, which is not read from adapters"
        )
    with quiet_transformers(), warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")
        try:
            config = PeftConfig.from_pretrained(str(directory))
            config.task_type = None  # the wrappers for tasks ask for a head
            target = _LanguageModel(model) if around else model
            merged: Any = PeftModel.from_pretrained(target, str(directory), config=config).merge_and_unload()
        except (OSError, ValueError, RuntimeError, SafetensorError, UserWarning) as error:
            raise ScorerError(f"the adapter in {directory} does not fit its backbone: {error}") from error
    return cast(nn.Module, merged.model if around else merged)


class _LanguageModel(nn.Module):
    """A decoder where a language model has it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
