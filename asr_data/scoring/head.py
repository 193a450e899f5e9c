"""A reward head from the checkpoint's own tensors."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from asr_data.errors import ScorerError
from asr_data.scoring.adapter import adapter_head
from asr_data.scoring.config import HeadConfig
from asr_data.scoring.feature_config import FeatureConfig
from asr_data.scoring.feature_head import FeatureHead
from asr_data.scoring.locate import inside
from asr_data.scoring.weights import read_file, read_tensors


def load_head(
    config: HeadConfig,
    directory: Path,
    checkpoint_extra: set[str],
    hidden: int,
    *,
    checkpoint: Path | None = None,
    adapter: Path | None = None,
    pickles: bool = False,
    features: FeatureConfig | None = None,
) -> nn.Module:
    """Build the head from the checkpoint's tensors.

    Args:
        config: which head.
        directory: where the scorer's files are.
        checkpoint_extra: names of tensors that the backbone did not take; the head must take all of them, unless it is
            in a file of its own or in the adapter's.
        hidden: size of the backbone's last hidden state.
        checkpoint: where the backbone's weights are, if not in ``directory``.
        adapter: a PEFT adapter; a head in its file is newer than the checkpoint's.
        pickles: whether weights may come from pickle files.
        features: what it reads beside a hidden state; the head is then a
            :class:`asr_data.scoring.feature_head.FeatureHead`.

    Raises:
        ScorerError: a head tensor is missing, is left over, or has the wrong shape, or features are divided by 0.
    """
    if config.file is not None:
        available = _own_file(inside(directory, config.file))
    else:
        available = {} if adapter is None else adapter_head(adapter)
        source = checkpoint or directory
        available = available or read_tensors(source, checkpoint_extra.__contains__, pickles=pickles)
    names = {name.removeprefix(config.prefix) for name in available}
    head = _build_head(config, hidden, names) if features is None else FeatureHead(hidden, config.labels, features)
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
    if isinstance(head, FeatureHead) and not bool((head.get_buffer("std") > 0).all()):
        raise ScorerError(f"head tensor {config.prefix + 'std'!r} in {directory} must be above 0")
    return head.eval()


def _own_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ScorerError(f"no head at {path}")
    if path.suffix != ".safetensors":
        raise ScorerError(f"the head in {path} is not a safetensors file")
    return read_file(path)


def _build_head(config: HeadConfig, hidden: int, names: set[str]) -> nn.Module:
    if config.kind == "linear":
        return nn.Linear(hidden, config.labels, bias="bias" in names)
    if config.kind == "mlp2":
        return nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, config.labels))
    head = nn.Sequential()
    head.add_module("summary", nn.Linear(hidden, config.labels))
    return head
