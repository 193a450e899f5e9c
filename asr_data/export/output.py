"""The directory of an export: there whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from asr_data.errors import OutputExistsError
from asr_data.storage.commit import flush_directory

MANIFEST_NAME: Final = "export.json"


@contextmanager
def new_directory(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives a directory beside ``path`` to write to; it becomes ``path`` when the block ends well, else it is removed.

    Raises:
        OutputExistsError: ``path`` is there and not to be replaced, is not an export, or holds files of others.
    """
    temporary, old = (path.with_name(f".{path.name}.{ending}") for ending in ("partial", "old"))
    if old.exists() and not path.exists():
        old.rename(path)  # an earlier run was killed while it replaced this
    _check(path, overwrite=overwrite)
    for left in (temporary, old):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _check(path, overwrite=overwrite)  # again: it may have come while we wrote
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_directory(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _check(path: Path, *, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / MANIFEST_NAME).is_file():
        raise OutputExistsError(f"{path}: exists and is not an export; the output must be a new directory")
    if not overwrite:
        raise OutputExistsError(f"{path}: holds an export already; pass --overwrite to replace it")
    ours = {MANIFEST_NAME, *json.loads((path / MANIFEST_NAME).read_bytes())["files"]}
    files = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
    if files - ours:
        raise OutputExistsError(
            f"{path}: holds {min(files - ours)}, which the export did not write; move it away before --overwrite"
        )
