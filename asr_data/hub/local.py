"""The files to push, checked before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asr_data.errors import CorruptFileError
from asr_data.storage import Manifest, load_manifest
from asr_data.storage.commit import check_file, file_sha256
from asr_data.storage.manifest import CARD_NAME, MANIFEST_NAME


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the directory.

    Attributes:
        name: path in the directory and in the repository, with forward slashes.
        path: on this machine.
        size: bytes.
        sha256: of its content, 64 hexadecimal digits.
    """

    name: str
    path: Path
    size: int
    sha256: str


def local_files(directory: Path) -> tuple[Manifest, tuple[LocalFile, ...]]:
    """The manifest and the files of the output: those that it lists, the card and the manifest.

    Raises:
        CorruptFileError: the output is unfinished, or a file is missing, lies outside of the directory, or has changed
            since it was written.
    """
    manifest = load_manifest(directory)
    listed = [
        LocalFile(record.path, check_file(directory, record), record.bytes, record.sha256) for record in manifest.files
    ]
    return manifest, (*listed, _unlisted(directory, CARD_NAME), _unlisted(directory, MANIFEST_NAME))


def _unlisted(directory: Path, name: str) -> LocalFile:
    """A file that the manifest does not list."""
    path = directory / name
    if not path.is_file():
        raise CorruptFileError(f"{path}: missing; every finished output has it")
    if not path.resolve().is_relative_to(directory.resolve()):
        raise CorruptFileError(f"{path}: leads out of the directory {directory}")
    return LocalFile(name, path, path.stat().st_size, file_sha256(path))
