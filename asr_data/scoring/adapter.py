"""PEFT adapters: merged into a decoder, with the head that some of them carry.

TRL and PEFT save a fine-tuned reward model as an adapter whose ``modules_to_save`` holds the new head, in the adapter's
own file. The head is read from there like any other (:mod:`asr_data.scoring.head`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.model_config import read_json_object
from asr_data.scoring.quiet import quiet_transformers
from asr_data.scoring.weights import ADAPTER, file_shapes, read_file

CONFIG = "adapter_config.json"
_WRAPPED = "base_model.model."
_HEADS = ("score", "classifier", "v_head", "value_head", "summary", "reward_head", "rm_head")
"""Modules that sit on a decoder; PEFT saves the first two of every sequence or token classifier by itself."""


_NOT_DATA = ("auto_mapping", "base_model_name_or_path", "megatron_config", "megatron_core", "revision", "task_type")
"""Settings that name code or models, and the task, whose wrapper would ask for a head of its own."""


def adapter_file(directory: Path) -> Path:
    """The weights of an adapter.

    Raises:
        ScorerError: there is no adapter, or it is not in safetensors.
    """
    if not (directory / CONFIG).is_file():
        raise ScorerError(f"no adapter at {directory}")
    path = directory / ADAPTER
    if not path.is_file():
        raise ScorerError(f"the adapter in {directory} has no {ADAPTER}")
    return path


def adapter_head_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the head's tensors in an adapter, without PEFT's prefix; empty without a head."""
    names = file_shapes(adapter_file(directory))
    return {_bare(name): shape for name, shape in names.items() if _is_head(name)}


def adapter_head(directory: Path) -> dict[str, Tensor]:
    """The head's tensors in an adapter, without PEFT's prefix."""
    return {_bare(name): tensor for name, tensor in read_file(adapter_file(directory), _is_head).items()}


def merge_adapter(model: nn.Module, directory: Path) -> nn.Module:
    """The decoder with the adapter merged into it; a head in the adapter's file is left to the caller.

    Layer by layer in float32, whatever the weights are in: they are rounded once.

    Raises:
        ScorerError: it does not fit the decoder, or changes more than the decoder and a reward head.
    """
    path = adapter_file(directory)
    if importlib.util.find_spec("peft") is None:
        raise MissingDependencyError("peft", "an adapter", "pip install 'asr-data[train]'")
    tensors = read_file(path, lambda name: not _is_head(name))
    if any("lm_head" in name for name in tensors):
        raise ScorerError(
            f"the adapter in {directory} changes the language-model head, which is not read from adapters"
        )
    # An adapter of a language model names the decoder as its part; a decoder's own does not.
    around = any(name.startswith(f"{_WRAPPED}model.") for name in tensors)
    with quiet_transformers():
        try:
            merged = _merged(_LanguageModel(model) if around else model, directory, tensors)
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise ScorerError(f"the adapter in {directory} does not fit its backbone: {error}") from error
    return cast(nn.Module, merged.model if around else merged)


def _merged(target: nn.Module, directory: Path, tensors: dict[str, Tensor]) -> Any:
    from peft import get_peft_model, set_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING
    from peft.tuners.tuners_utils import BaseTunerLayer

    settings = {key: value for key, value in read_json_object(directory / CONFIG).items() if key not in _NOT_DATA}
    kind = settings.get("peft_type")
    if kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise ScorerError(f"{directory / CONFIG}: peft has no adapter of type {kind!r}")
    config: Any = PEFT_TYPE_TO_CONFIG_MAPPING[kind].from_peft_type(**settings)
    config.inference_mode = True
    config.modules_to_save = [name for name in config.modules_to_save or () if name not in _HEADS] or None
    wrapped: Any = get_peft_model(target, config)
    loaded: Any = set_peft_model_state_dict(wrapped, tensors)
    ours = (PEFT_TYPE_TO_PREFIX_MAPPING.get(kind, ""), "modules_to_save")
    missing = [key for key in loaded.missing_keys if any(part in key for part in ours)]
    if missing or loaded.unexpected_keys:
        raise ValueError(f"missing {missing[:3] or 'none'}, unexpected {list(loaded.unexpected_keys)[:3] or 'none'}")
    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge = partial(_merge_in_float32, module, module.merge)
    return wrapped.merge_and_unload()


def _merge_in_float32(module: Any, merge: Callable[..., None], *args: Any, **settings: Any) -> None:
    """Merge one layer in float32; the others stay as they are."""
    layer = module.get_base_layer()
    narrow = {name: parameter.data for name, parameter in layer.named_parameters()}
    layer.float()
    merge(*args, **settings)
    for name, parameter in layer.named_parameters():
        if name in narrow and narrow[name].shape == parameter.shape:
            parameter.data = narrow[name].copy_(parameter.data)  # into the old place: the heap stays in one piece


def _is_head(name: str) -> bool:
    parts = name.removeprefix(_WRAPPED).split(".")
    return parts[0] in _HEADS and not any("lora" in part for part in parts)


def _bare(name: str) -> str:
    return name.removeprefix(_WRAPPED).replace("modules_to_save.", "")


class _LanguageModel(nn.Module):
    """A decoder where a language model has it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
