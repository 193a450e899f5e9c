"""Weights from disk: a native backbone, our own head, and no silent surprises.

transformers drops a head without a word (``AutoModel``) or invents one (``AutoModelForTokenClassification``), and
remote code of process reward models loads wrong on transformers 5. So the backbone is loaded natively, the head
from the checkpoint's own tensors, and every tensor must be accounted for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.config import BackboneConfig, HeadConfig, PackagedBackbone
from asr_data.scoring.weights import PICKLES, no_weights, read_tensors, shapes, weight_files

_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


def resolve_directory(name: str, revision: str | None = None, *, pickles: bool = False) -> Path:
    """A local directory as it is; anything else is a hub id, fetched without code and pickles."""
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    if local.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ScorerError(f"{name!r} is not a model directory")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=[*_MODEL_FILES, *(PICKLES if pickles else ())])
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ScorerError(f"{name!r} is neither a directory nor a model that the hub gives: {error}") from error


def packaged_file(backbone: PackagedBackbone) -> Path:
    """The GGUF file inside an installed package; the package itself is not imported.

    Raises:
        MissingDependencyError: naming the install command.
    """
    spec = importlib.util.find_spec(backbone.package)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(backbone.package, "this scorer's backbone", backbone.install)
    path = Path(spec.origin).parent / backbone.gguf_file
    if not path.is_file():
        raise ScorerError(f"package {backbone.package!r} holds no file {backbone.gguf_file!r}")
    return path


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
        model = _merge_adapter(model, _inside(directory, config.adapter))
    return model.eval(), extra


def backbone_directory(name: str, directory: Path) -> Path:
    """The backbone that a scorer in ``directory`` names: beside it, elsewhere on this machine, or on the hub."""
    if not Path(name).is_absolute() and (directory / name).is_dir():
        return _inside(directory, name)
    return resolve_directory(name)


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


def load_head(
    config: HeadConfig, directory: Path, checkpoint_extra: set[str], hidden: int, *, pickles: bool = False
) -> nn.Module:
    """Build the head from the checkpoint's tensors.

    Args:
        config: which head.
        directory: where the files are.
        checkpoint_extra: names of tensors that the backbone did not take; the head must take all of them.
        hidden: size of the backbone's last hidden state.

    Raises:
        ScorerError: a head tensor is missing, is left over, or has the wrong shape.
    """
    available = _head_tensors(config, directory, checkpoint_extra, pickles=pickles)
    head = _build_head(config, hidden, {name.removeprefix(config.prefix) for name in available})
    wanted = {config.prefix + name: tensor for name, tensor in head.state_dict().items()}
    missing, unexpected = sorted(wanted.keys() - available), sorted(available.keys() - wanted)
    if missing or unexpected:
        raise ScorerError(
            f"head {config.kind!r} with prefix {config.prefix!r} does not fit the tensors in {directory}: "
            f"missing {missing or 'none'}, unexpected {unexpected or 'none'}"
        )
    for name, tensor in wanted.items():
        if available[name].shape != tensor.shape:
            raise ScorerError(
                f"head tensor {name!r} in {directory} has shape {list(available[name].shape)}, "
                f"wanted {list(tensor.shape)}"
            )
    head.load_state_dict({name.removeprefix(config.prefix): t.float() for name, t in available.items()})
    return head.eval()


def _head_tensors(
    config: HeadConfig, directory: Path, checkpoint_extra: set[str], *, pickles: bool
) -> dict[str, Tensor]:
    if config.file is not None:
        path = _inside(directory, config.file)
        if not path.is_file():
            raise ScorerError(f"no head at {path}")
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ScorerError(f"cannot read {path}: {error}") from error
    return read_tensors(directory, checkpoint_extra.__contains__, pickles=pickles)


def _build_head(config: HeadConfig, hidden: int, names: set[str]) -> nn.Module:
    if config.kind == "linear":
        return nn.Linear(hidden, config.labels, bias="bias" in names)
    if config.kind == "mlp2":
        return nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, config.labels))
    head = nn.Sequential()
    head.add_module("summary", nn.Linear(hidden, config.labels))
    return head


def _inside(directory: Path, name: str) -> Path:
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise ScorerError(f"{name!r} points outside the model directory {directory}")
    return path


def fingerprint(paths: Iterator[Path] | list[Path], settings: dict[str, Any]) -> str:
    """sha256 over file names, file contents and settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(paths):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence load reports and bars: what they warn of is checked here and raised.

    Also silent: peft reads an attribute of the backbone that transformers has deprecated.
    """
    from transformers.utils import logging as transformers_logging

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
