from __future__ import annotations

import pytest

from asr_data.compiled import compiled


def test_without_a_place_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching._CacheImpl._locator_classes", [])
    monkeypatch.setattr("numba.core.caching.CompileResultCacheImpl._locator_classes", [])

    @compiled(nogil=True)
    def double(x: int) -> int:
        return 2 * x

    assert double(21) == 42


def test_other_failures_are_raised() -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        compiled(no_such_option=1)(lambda: None)
