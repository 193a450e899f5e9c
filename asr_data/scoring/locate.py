"""Where the files of a model are: a directory, a Hub id, or a file inside an installed package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.config import PackagedBackbone
from asr_data.scoring.weights import PICKLES
from asr_data.text.gguf import BUILTIN_INSTALL, BUILTIN_PACKAGE

BUILTIN = Path(__file__).parent / "builtin"
_WEIGHTS = "*.safetensors"
_MODEL_FILES = ("*.json", _WEIGHTS, "*.jinja", "*.model", "*.txt")


def resolve_directory(
    name: str, revision: str | None = None, *, pickles: bool = False, hub: bool = True, weights: bool = True
) -> Path:
    """A local directory as it is; anything else is a Hub id, fetched without code and pickles.

    Args:
        name: the directory or Hub id.
        revision: of a Hub id.
        pickles: fetch weights in pickle files, too.
        hub: False: the name was not typed by the user, but stands in a file. Then the Hub is not asked, and only a copy
            that was fetched before is used.
        weights: False: fetch settings and tokenizer alone.

    Raises:
        ScorerError: there is no such directory, and no such model on the Hub or among the copies.
    """
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    if not is_hub_id(name):
        raise ScorerError(f"{name!r} is not a model directory")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*_MODEL_FILES, *(PICKLES if pickles else ())]
    if not weights:
        patterns = [pattern for pattern in _MODEL_FILES if pattern != _WEIGHTS]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=not hub))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if not hub:
            raise ScorerError(
                f"{name!r} is named by a file, and the Hub is asked only for what you name yourself: give --allow-hub, "
                "or its directory"
            ) from error
        raise ScorerError(f"{name!r} is neither a directory nor a model that the Hub has: {error}") from error


def is_hub_id(name: str) -> bool:
    """Whether a name is neither on this machine nor written as a path."""
    local = Path(name).expanduser()
    return name != "builtin" and not (local.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1)


def packaged_file(backbone: PackagedBackbone) -> Path:
    """The GGUF file inside an installed package; the package itself is not imported.

    Raises:
        MissingDependencyError: naming the install command.
    """
    spec = importlib.util.find_spec(backbone.package)
    if spec is None or spec.origin is None:
        command = BUILTIN_INSTALL if backbone.package == BUILTIN_PACKAGE else backbone.install
        raise MissingDependencyError(backbone.package, "this scorer's backbone", command)
    path = Path(spec.origin).parent / backbone.gguf_file
    if not path.is_file():
        raise ScorerError(f"package {backbone.package!r} holds no file {backbone.gguf_file!r}")
    return path


def backbone_directory(name: str, directory: Path, *, hub: bool = False) -> Path:
    """The backbone that a scorer in ``directory`` names: beside it, elsewhere on this machine, or on the Hub.

    Args:
        name: as it stands in the settings.
        directory: of the scorer.
        hub: whether it may be fetched; see :func:`resolve_directory`.
    """
    if not Path(name).is_absolute() and (directory / name).is_dir():
        return inside(directory, name)
    return resolve_directory(name, hub=hub)


def inside(directory: Path, name: str) -> Path:
    """The path of ``name`` in a model directory.

    A link there may lead anywhere (the Hub's cache consists of links); a name must not lead outside.

    Raises:
        ScorerError: it leads outside.
    """
    if Path(name).is_absolute() or ".." in Path(name.replace("\\", "/")).parts:
        raise ScorerError(f"{name!r} points outside the model directory {directory}")
    return directory / name


def model_directory(model: str, revision: str | None, *, pickles: bool, hub: bool = True, weights: bool = True) -> Path:
    """As :func:`resolve_directory`; ``builtin`` is the directory of the built-in scorer."""
    return (
        BUILTIN if model == "builtin" else resolve_directory(model, revision, pickles=pickles, hub=hub, weights=weights)
    )
