"""A loaded decoder on its device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError
from asr_data.scoring.backbone import load_backbone, load_packaged
from asr_data.scoring.config import BackboneConfig, PackagedBackbone
from asr_data.scoring.locate import backbone_directory, inside
from asr_data.scoring.spread import Spread, execution_device


@dataclass(frozen=True, slots=True)
class Decoder:
    """A loaded backbone.

    Attributes:
        model: on its device, in its dtype.
        directory: where the scorer's files are.
        checkpoint: where the backbone's weights are; None where a package has them.
        adapter: the adapter that was merged.
        extra: names of the checkpoint's tensors that the backbone did not take, those of an ``lm_head`` left out.
        hidden: size of the last hidden state.
        vocabulary: rows of the input embedding; a larger token id cannot be read.
        device: where the model is.
        pickles: whether weights may come from pickle files.
        entry: its folder in the user's cache, where what was found out about it is remembered.
    """

    model: nn.Module
    directory: Path
    checkpoint: Path | None
    adapter: Path | None
    extra: frozenset[str]
    hidden: int
    vocabulary: int
    device: torch.device
    pickles: bool = False
    entry: Path | None = None


def load_decoder(
    settings: BackboneConfig,
    directory: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    pickles: bool,
    hub: bool = False,
    cache: bool = True,
    spread: Spread | None = None,
) -> Decoder:
    """Load the decoder of a scorer, its adapter merged.

    Args:
        settings: of the scorer.
        directory: where its files are.
        device: where it runs.
        dtype: the number format that it runs in.
        pickles: whether weights may come from pickle files.
        hub: whether a backbone that the settings name may be fetched from the Hub.
        cache: whether a packaged backbone may be kept in the user's cache.
        spread: over several devices, in place of ``device``.

    Raises:
        ScorerError: the weights are missing or do not fit.
    """
    adapter = None if settings.adapter is None else inside(directory, settings.adapter)
    checkpoint: Path | None = None
    entry: Path | None = None
    extra: set[str] = set()
    if isinstance(settings.backbone, PackagedBackbone):
        if spread is not None:
            raise ConfigError("--device-map is for models of files of their own; the built-in one fits on any device")
        model, entry = load_packaged(settings.backbone, adapter, device, dtype, cache=cache)
    else:
        model, extra = load_backbone(
            settings, directory, pickles=pickles, hub=hub, device=device, dtype=dtype, spread=spread
        )
        named = settings.backbone
        checkpoint = directory if named is None else backbone_directory(named, directory, hub=hub)
    embedding = model.get_input_embeddings()  # type: ignore[operator] # HF models
    return Decoder(
        model=model,
        directory=directory,
        checkpoint=checkpoint,
        adapter=adapter,
        extra=frozenset(extra),
        hidden=int(model.config.get_text_config().hidden_size),  # type: ignore[union-attr, operator] # HF models
        vocabulary=int(embedding.weight.shape[0]),
        device=execution_device(model),
        pickles=pickles,
        entry=entry,
    )


def max_length(backbone: nn.Module, scoring: ScoringConfig, name: str) -> int:
    """The longest request in tokens: the decoder's context, or less where the user says so.

    Raises:
        ConfigError: the decoder does not say how long its context is, and the user does not either.
    """
    settings = backbone.config.get_text_config()  # type: ignore[union-attr, operator] # HF models
    context = getattr(settings, "max_position_embeddings", None)  # some have none: ALiBi, state spaces
    lengths = [int(length) for length in (scoring.max_length, context) if length]
    if not lengths:
        raise ConfigError(f"{name} does not say how long its context is; set max_length (--max-length)")
    return min(lengths)


def spread_of(scoring: ScoringConfig, folder: Path | None) -> Spread | None:
    """How decoders are spread over devices; None where each is on one.

    Raises:
        ConfigError: a device is named beside a device map, or a folder without one.
    """
    if scoring.device_map is None:
        if folder is not None:
            raise ConfigError("--offload-dir is for what --device-map puts on disk; give both")
        return None
    if scoring.device != "auto":
        raise ConfigError(f"--device {scoring.device} and --device-map both say where the model runs; give one of them")
    return Spread(scoring.device_map, folder)


def pick_device(device: str) -> torch.device:
    """``auto`` takes the GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """``auto`` takes bfloat16 where the hardware multiplies it, else float32."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if fast else torch.float32
