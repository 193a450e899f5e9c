"""A reward head from the checkpoint's own tensors."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from asr_data.errors import ScorerError
from asr_data.scoring.config import HeadConfig
from asr_data.scoring.locate import inside
from asr_data.scoring.weights import read_tensors


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
        path = inside(directory, config.file)
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
