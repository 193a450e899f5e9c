"""Tensors of a checkpoint by name, without loading the rest."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from asr_data.errors import ScorerError

PICKLES = ("pytorch_model*.bin",)
"""Weights in pickle files, as older checkpoints have them."""


def weight_files(directory: Path, *, pickles: bool) -> list[Path]:
    """The safetensors of a checkpoint, or its pickle files where there are none and they are allowed."""
    found = sorted(directory.glob("*.safetensors"))
    if found or not pickles:
        return found
    return sorted(path for pattern in PICKLES for path in directory.glob(pattern))


def no_weights(directory: Path) -> str:
    """Why a directory without safetensors is refused."""
    if weight_files(directory, pickles=True):
        return (
            f"{directory} has its weights in pickle files, which are read only with --allow-pickle (by torch's "
            "weights-only loader, which builds tensors and runs no code)"
        )
    return f"{directory} has no weights in safetensors"


def read_tensors(directory: Path, wanted: Callable[[str], bool], *, pickles: bool) -> dict[str, Tensor]:
    """The tensors whose names are wanted.

    Pickle files are unpickled with ``torch.load(weights_only=True)``, which makes tensors and runs nothing else.

    Raises:
        ScorerError: a file cannot be read.
    """
    found: dict[str, Tensor] = {}
    for path in weight_files(directory, pickles=pickles):
        with _readable(path):
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt") as file:
                    found |= {key: file.get_tensor(key) for key in file.keys() if wanted(key)}  # noqa: SIM118
            else:
                found |= {key: tensor for key, tensor in _unpickled(path) if wanted(key)}
    return found


def shapes(directory: Path, *, pickles: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors; of safetensors, from the headers alone.

    Raises:
        ScorerError: a file cannot be read.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in weight_files(directory, pickles=pickles):
        with _readable(path):
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt") as file:
                    found |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            else:
                found |= {key: tuple(tensor.shape) for key, tensor in _unpickled(path)}
    return found


def _unpickled(path: Path) -> Iterator[tuple[str, Tensor]]:
    yield from torch.load(path, weights_only=True, mmap=True, map_location="cpu").items()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong with a file becomes a ScorerError that names it."""
    try:
        yield
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError) as error:
        raise ScorerError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
