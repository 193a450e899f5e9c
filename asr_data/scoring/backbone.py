"""Decoders from disk.

transformers silently drops a head (``AutoModel``) or invents one (``AutoModelForTokenClassification``), and
remote code of process reward models loads wrong on transformers 5. So the backbone is loaded natively, from tensors
that are read here (:mod:`asr_data.scoring.weights`), the head from the rest (:mod:`asr_data.scoring.head`), and every
tensor must be accounted for.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from asr_data.errors import ScorerError
from asr_data.model_cache import entry_key, find_entry, keep_entry
from asr_data.scoring.adapter import CONFIG as ADAPTER_CONFIG
from asr_data.scoring.adapter import merge_adapter
from asr_data.scoring.config import BackboneConfig, PackagedBackbone
from asr_data.scoring.gguf_file import load_gguf
from asr_data.scoring.locate import backbone_directory, inside, packaged_file
from asr_data.scoring.model_config import read_model_config
from asr_data.scoring.quantised import quantised_arguments
from asr_data.scoring.quiet import quiet_transformers
from asr_data.scoring.spread import Spread, is_offloaded, load_arguments
from asr_data.scoring.stored import StoredTensor
from asr_data.scoring.weights import ADAPTER, SAFETENSORS, find_weights, no_weights, stored_tensors

logger = logging.getLogger(__name__)

_CPU = torch.device("cpu")


def load_backbone(
    config: BackboneConfig,
    directory: Path,
    *,
    pickles: bool = False,
    hub: bool = False,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
    cache: bool = True,
    spread: Spread | None = None,
) -> tuple[nn.Module, set[str]]:
    """Load the decoder, its adapter merged.

    The weights go from the files to the device one by one, each in its number format; nothing is held twice.

    Args:
        config: what is beside the weights, and where they are.
        directory: of the scorer's files.
        pickles: whether weights may come from pickle files.
        hub: whether a backbone that the settings name may be fetched from the Hub.
        device: where it runs.
        dtype: the number format that it runs in; a quantised one keeps its own for its layers.
        cache: keep a packaged backbone, dequantised, adapted and in its number format, in the user's cache.
        spread: over several devices, in place of ``device``.

    Returns:
        The backbone, and the names of the checkpoint's tensors that are not its own (the head's).

    Raises:
        ScorerError: tensors are missing, or the directory is not a model.
        MissingDependencyError: the backbone, the adapter or the quantisation needs a package.
    """
    adapter = None if config.adapter is None else inside(directory, config.adapter)
    if isinstance(config.backbone, PackagedBackbone):
        return load_packaged(config.backbone, adapter, device, dtype, cache=cache)[0], set()
    source = directory if config.backbone is None else backbone_directory(config.backbone, directory, hub=hub)
    model, extra = _load_native(source, device, dtype, pickles=pickles, spread=spread)
    _name_unread(source, config, pickles=pickles)
    if adapter is not None:
        if is_quantised(model):
            raise ScorerError(f"{source} is quantised, and an adapter can only be merged into full weights")
        if is_offloaded(model):
            raise ScorerError(
                f"{source}: an adapter cannot be merged into weights that --device-map offloads; merge it first "
                "(PeftModel.merge_and_unload), or give a device map without offloading"
            )
        model = merge_adapter(model, adapter)
    return model.eval(), extra


def load_packaged(
    backbone: PackagedBackbone, adapter: Path | None, device: torch.device, dtype: torch.dtype, *, cache: bool
) -> tuple[nn.Module, Path | None]:
    """The decoder of an installed package's GGUF file, and its entry in the user's cache, if there is one.

    Args:
        backbone: where the file is.
        adapter: a directory; merged in float32.
        device: where it runs.
        dtype: the number format that it runs in.
        cache: take it from the cache, and keep it there.
    """
    path = packaged_file(backbone)
    model, entry = _packaged(path, adapter, dtype, cache=cache)
    return model.to(device).eval(), entry


def _packaged(path: Path, adapter: Path | None, dtype: torch.dtype, *, cache: bool) -> tuple[nn.Module, Path | None]:
    files = [path] if adapter is None else [path, adapter / ADAPTER_CONFIG, adapter / ADAPTER]
    key = entry_key(files, {"what": "decoder", "dtype": str(dtype)}) if cache else ""
    folder = find_entry(key) if cache else None
    if folder is not None:
        model, _ = _load_native(folder, _CPU, dtype, pickles=False)
        return model.to(dtype), folder  # buffers, too
    logger.info("%s: dequantising the backbone%s", path.name, ", once; the result is cached" if cache else "")
    model = load_gguf(path)
    if adapter is not None:
        model = merge_adapter(model, adapter)
    model = model.to(dtype)

    def write(folder: Path) -> None:
        save_file({name: t.contiguous() for name, t in model.state_dict().items()}, folder / SAFETENSORS)
        model.config.save_pretrained(folder)  # type: ignore[union-attr, operator] # HF models

    return model, keep_entry(key, write) if cache else None


def is_quantised(model: nn.Module) -> bool:
    """Whether a backbone keeps its weights in a format that must not be cast."""
    return getattr(model, "hf_quantizer", None) is not None


def _load_native(
    directory: Path, device: torch.device, dtype: torch.dtype, *, pickles: bool, spread: Spread | None = None
) -> tuple[nn.Module, set[str]]:
    """The decoder of a checkpoint, on its device, and the tensors that it did not take."""
    from transformers import AutoModel

    config = read_model_config(directory)
    if not find_weights(directory, pickles=pickles).files:
        raise ScorerError(no_weights(directory))
    tensors: dict[str, Any] = dict(stored_tensors(directory, dtype, pickles=pickles))
    arguments = _arguments(config, directory, device, dtype)
    is_plain = getattr(config, "quantization_config", None) is None
    try:
        with quiet_transformers(), _one_by_one(device, config):
            with torch.device("meta"):
                empty = AutoModel.from_config(config, trust_remote_code=False)
            _check_size(empty, tensors, directory)
            if spread is not None:
                arguments |= load_arguments(spread, empty, dtype, quantised=not is_plain)
            quantisation = getattr(config, "quantization_config", None)
            if quantisation is not None:  # a decoder inside a larger model has settings of its own
                empty.config.quantization_config = quantisation
            # Without a path: transformers then looks for nothing else beside the weights, here or on the Hub.
            model, info = type(empty).from_pretrained(
                None,
                config=empty.config,
                state_dict=tensors,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **arguments,
            )
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        SafetensorError,
        TypeError,
        AttributeError,
        ImportError,
        ZeroDivisionError,
        NotImplementedError,
    ) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ScorerError(f"cannot load a model from {directory}: {reason[0]}") from error
    model.name_or_path = model.config._name_or_path = str(directory)
    missing = sorted(info["missing_keys"])
    wrong = sorted(str(key) for key in info["mismatched_keys"])
    if missing or wrong:
        raise ScorerError(
            f"the checkpoint in {directory} does not fit its backbone: missing {missing[:5]}, mismatched {wrong[:5]}"
        )
    # Without accelerate it is on the CPU still.
    placed = model if is_quantised(model) or spread is not None else model.to(device)
    return placed, {key for key in info["unexpected_keys"] if not key.startswith("lm_head.")}


def _arguments(config: Any, directory: Path, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Number format, device and quantiser, for ``from_pretrained``."""
    arguments = quantised_arguments(config, directory, device, dtype) or {"dtype": dtype}
    if device.type != "cpu" and importlib.util.find_spec("accelerate") is not None:
        arguments["device_map"] = {"": str(device)}  # no copy in the host's memory
    return arguments


@contextmanager
def _one_by_one(device: torch.device, config: Any) -> Iterator[None]:
    """Where reading ahead costs memory, have transformers read weights in this thread only.

    Its own threads allocate from heaps of their own, whose gaps nothing else fills; and they run ahead of what turns
    quantised weights into plain ones. To a GPU, several threads read faster.
    """
    name = "HF_DEACTIVATE_ASYNC_LOAD"
    if name in os.environ or (device.type != "cpu" and getattr(config, "quantization_config", None) is None):
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]


def _check_size(empty: nn.Module, tensors: dict[str, StoredTensor | torch.Tensor], directory: Path) -> None:
    """Refuse sizes that the weights do not have before memory is taken for them."""
    described = sum(parameter.numel() for parameter in empty.parameters())
    held = sum(tensor.nbytes for tensor in tensors.values())
    if described > 4 * held:  # half a byte a number at the least, and some to spare
        raise ScorerError(
            f"the checkpoint in {directory} does not fit its backbone: config.json describes {described:,} numbers, "
            f"and the weights take {held:,} bytes"
        )


def _name_unread(directory: Path, config: BackboneConfig, *, pickles: bool) -> None:
    """Name weight files that lie beside the checkpoint and are not read."""
    head = getattr(config, "head", None)
    own = None if head is None else head.file
    unread = [name for name in find_weights(directory, pickles=pickles).unread if name != own]
    if unread:
        listed = ", ".join(unread[:5]) + (f" and {len(unread) - 5} more" if len(unread) > 5 else "")
        logger.warning("%s: not part of the checkpoint, not read: %s", directory, listed)
