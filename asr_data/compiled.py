"""Functions compiled by numba, kept between runs where there is a place for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """``numba.njit`` with its cache on disk, or without one where no folder can be written.

    numba keeps what it compiled beside the source or in the user's home, and refuses to compile at all where both are
    read-only, as in many containers. Then every run compiles anew, which takes some seconds.

    Args:
        options: of ``numba.njit``.
    """

    def decorate(function: F) -> F:
        try:
            kept: F = njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            kept = njit(**options)(function)
        return kept

    return decorate
