"""Which files of a directory are its data. Nothing is silently read in part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asr_data.errors import InputError

_DEFAULT_SPLIT: Final = "train"
_DATA_SUFFIXES: Final = (".parquet", ".jsonl", ".ndjson", ".csv", ".tsv", ".arrow")
_COMPRESSED: Final = (".gz", ".zst", ".bz2", ".xz", ".zip")
_NAMED_IN_MESSAGES: Final = 5
_HAS_CONFIGS: Final = re.compile(r"\A---\s.*?^configs:.*?^---", re.MULTILINE | re.DOTALL)
_REMEDY: Final = (
    "give one file, put the files of one data set in a directory of their own, or name them in the configs of a "
    "README.md"
)


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files of one split.

    Attributes:
        split: its name.
        paths: the files, in order.
        features: what the directory's dataset card says of columns, as ``datasets`` writes it.
        notes: a line that says what is read and what is not, where something is not.
    """

    split: str
    paths: list[Path]
    features: Mapping[str, Any]
    notes: tuple[str, ...]


def data_files(directory: Path, split: str | None, name: str | None) -> DataFiles:
    """The files that ``datasets.load_dataset`` would read.

    Args:
        directory: not a saved dataset.
        split: which split; needed where there are several and none is ``train``.
        name: which configuration of its dataset card.

    Raises:
        InputError: no such split or configuration, or data files that belong to none, so that it is not clear what
            is meant.
    """
    import datasets as hf_datasets

    saved = [path.parent.relative_to(directory) for path in sorted(directory.glob("*/state.json"))]
    if saved:
        raise InputError(f"{directory}: holds saved datasets, one per folder; give one of them: {_listed(saved)}")
    try:  # resolves splits and the configs of a dataset card, and reads no data
        builder = hf_datasets.load_dataset_builder(str(directory), name=name)
    except (hf_datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        raise InputError(f"{directory}: not a directory with a dataset: {error}") from error
    by_split = {str(key): [Path(file) for file in files] for key, files in (builder.config.data_files or {}).items()}
    chosen = choose_split(list(by_split), split, str(directory))
    paths = by_split[chosen]
    in_splits = {path.resolve() for files in by_split.values() for path in files}
    left = [path for path in _data_in(directory) if path.resolve() not in in_splits]
    if left and split is None and name is None and not _has_configs(directory):
        raise InputError(
            f"{directory}: it is not clear which files are meant: {_relative(paths, directory)} would be read, and "
            f"{_relative(left, directory)} would not; {_REMEDY}"
        )
    _refuse_unreadable(directory)
    _refuse_copies(directory, paths)
    others = [path for key, files in by_split.items() if key != chosen for path in files]
    features = builder.info.features
    return DataFiles(
        chosen,
        paths,
        {} if features is None else features.to_dict(),
        _notes(directory, chosen, paths, [*others, *left]),
    )


def choose_split(available: Sequence[str], wanted: str | None, place: str) -> str:
    """The split that is meant.

    Raises:
        InputError: there is no such split, or there are several and none is ``train``.
    """
    if wanted is not None and wanted not in available:
        raise InputError(f"{place}: no split {wanted!r}; there are {', '.join(available) or 'none'}")
    if wanted is not None:
        return wanted
    if _DEFAULT_SPLIT in available:
        return _DEFAULT_SPLIT
    if len(available) != 1:
        raise InputError(f"{place}: choose one of the splits {', '.join(available) or '(none)'} with --split")
    return available[0]


def _data_in(directory: Path) -> Iterator[Path]:
    """Every file that looks like data."""
    return (path for path in _visible(directory) if path.is_file() and _is_data(path))


def _visible(directory: Path) -> Iterator[Path]:
    """What is there; hidden files and those of hidden folders are not meant."""
    for path in sorted(directory.rglob("*")):
        if not any(part.startswith((".", "__")) for part in path.relative_to(directory).parts):
            yield path


def _refuse_unreadable(directory: Path) -> None:
    """``datasets`` passes over links to nowhere and pipes without a word."""
    odd = [p for p in _visible(directory) if p.name.lower().endswith(_DATA_SUFFIXES) and not p.is_file() | p.is_dir()]
    if odd and not _has_configs(directory):
        names = _listed([path.relative_to(directory) for path in odd])
        raise InputError(f"{directory}: {names} cannot be read: a link that leads nowhere, or no file; {_REMEDY}")


def _is_data(path: Path) -> bool:
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    if name.endswith(".json"):  # many hold settings; an array is data
        with path.open("rb") as stream:
            return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    return name.endswith(_DATA_SUFFIXES)


def _has_configs(directory: Path) -> bool:
    card = directory / "README.md"
    return card.is_file() and bool(_HAS_CONFIGS.match(card.read_text(encoding="utf-8", errors="replace")))


def _refuse_copies(directory: Path, paths: Sequence[Path]) -> None:
    names = {str(path) for path in paths}
    copies = [path for path in paths if any(f"{path}{suffix}" in names for suffix in _COMPRESSED)]
    if copies:
        raise InputError(
            f"{directory}: {_relative(copies, directory)} is also there compressed, so its rows would be read twice; "
            f"{_REMEDY}"
        )


def _notes(directory: Path, split: str, paths: Sequence[Path], left: Sequence[Path]) -> tuple[str, ...]:
    if not left:
        return ()
    return (f"split {split}: reading {_relative(paths, directory)}; not reading {_relative(left, directory)}",)


def _relative(paths: Sequence[Path], directory: Path) -> str:
    root = directory.resolve()
    inside = [path.resolve() for path in paths]
    return _listed([path.relative_to(root) if path.is_relative_to(root) else path for path in inside])


def _listed(paths: Sequence[Path]) -> str:
    shown = ", ".join(str(path) for path in paths[:_NAMED_IN_MESSAGES])
    return shown + (f" and {len(paths) - _NAMED_IN_MESSAGES} more" if len(paths) > _NAMED_IN_MESSAGES else "")
