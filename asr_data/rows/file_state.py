"""Whether a file was written to or replaced since it was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileState:
    """What a file system records of a file, and changes when the file is written to or replaced.

    The time of the last change (``ctime``) cannot be set back by a program, unlike that of the last modification.
    """

    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """The state of a file; None where there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def states_of(paths: Sequence[Path]) -> tuple[tuple[Path, FileState | None], ...]:
    """The states of some files."""
    return tuple((path, FileState.of(path)) for path in paths)
