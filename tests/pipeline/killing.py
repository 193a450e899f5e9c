"""A kill at a commit point, for :func:`asr_data.storage.observe`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


class Killed(BaseException):
    """As a kill: nothing that handles errors sees it."""


def killed_at(count: int) -> Callable[[str, Path], None]:
    """An observer that kills at the ``count``-th commit point."""
    left = count

    def observer(point: str, path: Path) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1

    return observer
