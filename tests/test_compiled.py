from __future__ import annotations

import pytest
from numba.core import caching

from asr_data.compiled import compiled


def test_without_a_place_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # as where no folder can be written

    @compiled(nogil=True)
    def double(x: int) -> int:
        return 2 * x

    assert double(21) == 42


def test_other_failures_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> object:
        raise RuntimeError("something else")

    monkeypatch.setattr("asr_data.compiled.njit", fail)
    with pytest.raises(RuntimeError, match="something else"):
        compiled()(len)
