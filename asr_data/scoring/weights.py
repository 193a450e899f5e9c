"""Which files hold a checkpoint's weights, and their tensors by name.

It is decided here once, for backbone, head, log-probabilities and recognition alike: an index decides, and without one
the single file of that name. Files that neither names are not read: they are often left over from an earlier save.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from asr_data.errors import ScorerError
from asr_data.scoring.stored import StoredTensor

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
PICKLES = ("pytorch_model*.bin", f"{PICKLE}.index.json")
"""Weights in pickle files, as older checkpoints have them."""
ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weights of one checkpoint.

    Attributes:
        files: what is read, in order; empty where there are no weights.
        place: tensor → file, where an index says so.
        unread: names of other weight files in the directory.
    """

    files: tuple[Path, ...]
    place: Mapping[str, Path] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    def holds(self, key: str, path: Path) -> bool:
        """Whether a tensor in a file is the checkpoint's: an index may say that it is another file's."""
        return self.place.get(key, path) == path


def find_weights(directory: Path, *, pickles: bool) -> WeightFiles:
    """The safetensors of a checkpoint, or its pickle files where there are none and they are allowed.

    Raises:
        ScorerError: the index cannot be read, or names a file that is missing or outside the directory.
    """
    for name, pattern in ((SAFETENSORS, "*.safetensors"), (PICKLE, PICKLES[0])):
        if name == PICKLE and not pickles:
            break
        files, place = _listed(directory, name)
        others = [path.name for path in sorted(directory.glob(pattern)) if path not in files and path.name != ADAPTER]
        if files:
            return WeightFiles(files, place, tuple(others))
    return WeightFiles(())


def _listed(directory: Path, name: str) -> tuple[tuple[Path, ...], dict[str, Path]]:
    index = directory / f"{name}.index.json"
    if not index.is_file():
        return ((directory / name,) if (directory / name).is_file() else ()), {}
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        listed = {str(key): str(file) for key, file in content["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ScorerError(f"{index} is not an index of weights: {error!r}") from error
    if not listed:
        raise ScorerError(f"{index} names no weights")
    for file in sorted(set(listed.values())):
        if len(PurePosixPath(file).parts) != 1 or file == ".." or "\\" in file:
            raise ScorerError(f"{index} names {file!r}; the files of a checkpoint stand beside its index")
        if not (directory / file).is_file():
            raise ScorerError(f"{index} names {file!r}, which is missing")
    place = {key: directory / file for key, file in listed.items()}
    return tuple(sorted(set(place.values()))), place


def no_weights(directory: Path) -> str:
    """Why a directory without usable weights is refused."""
    if find_weights(directory, pickles=True).files:
        return (
            f"{directory} has its weights in pickle files, which are read only with --allow-pickle (by torch's "
            "weights-only loader, which builds tensors and runs no code)"
        )
    others = [path.name for path in sorted(directory.glob("*.safetensors"))]
    if others:
        return (
            f"{directory} has neither {SAFETENSORS} nor an index, so it is not known whether {others[:5]} belong to it"
        )
    return f"{directory} has no weights in safetensors"


def read_tensors(directory: Path, wanted: Callable[[str], bool], *, pickles: bool) -> dict[str, Tensor]:
    """The tensors whose names are wanted.

    Pickle files are unpickled with ``torch.load(weights_only=True)``, which makes tensors and runs nothing else.

    Raises:
        ScorerError: a file cannot be read.
    """
    weights = find_weights(directory, pickles=pickles)
    found: dict[str, Tensor] = {}
    for path in weights.files:
        tensors = read_file(path, wanted)
        found |= {key: tensor for key, tensor in tensors.items() if weights.holds(key, path)}
    return found


def stored_tensors(directory: Path, dtype: torch.dtype, *, pickles: bool) -> dict[str, StoredTensor | Tensor]:
    """All tensors of a checkpoint, none of them read yet; those of pickle files are mapped.

    Args:
        directory: of the checkpoint.
        dtype: the number format of the model that they are for.
        pickles: whether they may come from pickle files.

    Raises:
        ScorerError: a file cannot be read.
    """
    weights = find_weights(directory, pickles=pickles)
    found: dict[str, StoredTensor | Tensor] = {}
    for path in weights.files:
        with _readable(path):
            tensors: dict[str, StoredTensor | Tensor]
            if path.suffix == ".safetensors":
                file: Any = safe_open(path, framework="pt", backend="pread")
                tensors = {key: StoredTensor(file, key, dtype) for key in file.keys()}  # noqa: SIM118
            else:
                tensors = dict(_unpickled(path))
        found |= {key: tensor for key, tensor in tensors.items() if weights.holds(key, path)}
    return found


def read_file(path: Path, wanted: Callable[[str], bool] = lambda _key: True) -> dict[str, Tensor]:
    """The tensors of one file whose names are wanted.

    Raises:
        ScorerError: it cannot be read.
    """
    with _readable(path):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt", backend="pread") as file:
                return {key: file.get_tensor(key) for key in file.keys() if wanted(key)}  # noqa: SIM118
        return {key: tensor for key, tensor in _unpickled(path) if wanted(key)}


def shapes(directory: Path, *, pickles: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors; of safetensors, from the headers alone.

    Raises:
        ScorerError: a file cannot be read.
    """
    weights = find_weights(directory, pickles=pickles)
    found: dict[str, tuple[int, ...]] = {}
    for path in weights.files:
        found |= {key: shape for key, shape in file_shapes(path).items() if weights.holds(key, path)}
    return found


def file_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of one file.

    Raises:
        ScorerError: it cannot be read.
    """
    with _readable(path):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        return {key: tuple(tensor.shape) for key, tensor in _unpickled(path)}


def _unpickled(path: Path) -> Iterator[tuple[str, Tensor]]:
    yield from torch.load(path, weights_only=True, mmap=True, map_location="cpu").items()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong with a file becomes a ScorerError that names it."""
    try:
        yield
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, AttributeError, ValueError) as error:
        raise ScorerError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
