"""A decoder and a tokenizer from a GGUF file, which is parsed once for both."""

from __future__ import annotations

import copy
import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.cache import entry_key, find_entry, keep_entry
from asr_data.scoring.quiet import quiet_transformers
from asr_data.text.tokenizer import Tokenizer, load_tokenizer


def load_gguf(path: Path) -> nn.Module:
    """The decoder of a GGUF file, dequantised to float32 on the CPU.

    Raises:
        MissingDependencyError: a package is missing.
        ScorerError: the file cannot be read.
    """
    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "a GGUF backbone", "pip install 'asr-data[builtin]'")
    from transformers import AutoModel, GgufConfig

    # Its bar cannot be turned off, and a log is no place for it; what goes wrong is raised.
    with quiet_transformers(), parse_once(), redirect_stderr(io.StringIO()):
        try:
            model: nn.Module = AutoModel.from_pretrained(
                path.parent,
                gguf_file=path.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                trust_remote_code=False,
                local_files_only=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
            raise ScorerError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    model.hf_quantizer = None  # type: ignore[assignment] # dequantised: weights like any other's
    return model


@cache
def _parsed(path: str) -> Any:
    """What transformers reads of a GGUF file beside its tensors. Kept: it is read for settings and tokenizer alike."""
    from transformers import modeling_gguf_pytorch_utils as reading

    return _original(reading)(path, return_tensors=False)


def _original(reading: Any) -> Any:
    return getattr(reading.load_gguf_checkpoint, "original", reading.load_gguf_checkpoint)


@contextmanager
def parse_once() -> Iterator[None]:
    """Let transformers share one parse of a GGUF file and one map of its tensor names.

    It parses the file for the settings, for the tokenizer's settings and for the weights (each walks every token of the
    vocabulary), and makes the map of names once for every module: 395 times for SmolLM2-135M, a third of all work.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    original = _original(reading)

    def load(gguf_checkpoint_path: Any, return_tensors: bool = False, **options: Any) -> Any:
        if return_tensors:
            return original(gguf_checkpoint_path, return_tensors=True, **options)
        return copy.deepcopy(_parsed(str(gguf_checkpoint_path)))

    load.original = original  # type: ignore[attr-defined] # for a block inside another
    with (
        mock.patch.object(gguf, "GGUFReader", _reader),
        mock.patch.object(gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map)),
        mock.patch.object(reading, "load_gguf_checkpoint", load),
    ):
        yield


@cache
def _reader(path: Any) -> Any:
    from gguf.gguf_reader import GGUFReader

    return GGUFReader(path)


def load_gguf_tokenizer(path: Path, name: str, *, cache: bool = True) -> Tokenizer:
    """The tokenizer of a GGUF file, from the user's cache where it was kept there.

    Raises:
        ConfigError: the file has none that can be loaded.
    """
    key = entry_key([path], {"what": "tokenizer"}) if cache else ""
    folder = find_entry(key) if cache else None
    if folder is not None:
        kept = load_tokenizer(folder, name=name)
        kept.hf.name_or_path = str(path.parent)
        return kept
    with quiet_transformers(), parse_once():
        made = load_tokenizer(path.parent, gguf_file=path.name, name=name)

    def write(folder: Path) -> None:
        made.hf.save_pretrained(folder)
        if _decisive(load_tokenizer(folder, name=name)) != _decisive(made):
            raise OSError("this tokenizer does not survive being saved")

    if cache:
        keep_entry(key, write)
    return made


def _decisive(tokenizer: Tokenizer) -> tuple[Any, ...]:
    """All of a tokenizer that decides ids, texts and offsets."""
    hf = tokenizer.hf
    special = [str(hf.special_tokens_map.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")]
    return type(hf), hf.backend_tokenizer.to_str(), hf.chat_template, special, hf.all_special_ids, len(hf)
