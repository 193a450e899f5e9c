"""Where the files of a model are: a directory, a Hub id, or a file inside an installed package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.config import PackagedBackbone
from asr_data.scoring.weights import PICKLES

BUILTIN = Path(__file__).parent / "builtin"
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
        raise ScorerError(f"{name!r} is neither a directory nor a model that the Hub has: {error}") from error


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


def backbone_directory(name: str, directory: Path) -> Path:
    """The backbone that a scorer in ``directory`` names: beside it, elsewhere on this machine, or on the hub."""
    if not Path(name).is_absolute() and (directory / name).is_dir():
        return inside(directory, name)
    return resolve_directory(name)


def inside(directory: Path, name: str) -> Path:
    """The path of ``name`` in a model directory.

    Raises:
        ScorerError: it leads outside.
    """
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise ScorerError(f"{name!r} points outside the model directory {directory}")
    return path


def model_directory(model: str, revision: str | None, *, pickles: bool) -> Path:
    """As :func:`resolve_directory`; ``builtin`` is the directory of the built-in scorer."""
    return BUILTIN if model == "builtin" else resolve_directory(model, revision, pickles=pickles)
