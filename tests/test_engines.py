"""Servers by role, from what the user types."""

from __future__ import annotations

import pytest

from asr_data.engines import EngineSettings, served_models
from asr_data.errors import ConfigError

DEFAULT = EngineSettings()


def test_roles_and_names() -> None:
    found = served_models(
        ["http://a:8000/v1/", "reference=https://b", "model=http://c", "http://a:8000/v1"],
        ["big", "reference=base"],
        DEFAULT,
    )
    assert found.keys() == {"model", "reference"}
    assert found["model"].urls == ("http://a:8000", "http://c")
    assert (found["model"].name, found["reference"].name) == ("big", "base")
    assert served_models([], [], DEFAULT) == {}


@pytest.mark.parametrize(
    ("urls", "names", "said"),
    [
        (["a:8000"], [], "an endpoint is a URL such as"),
        (["http://user:pass@a"], [], "no user, password"),
        (["logprobs=ftp://a"], [], "an endpoint is a URL such as"),
        ([], ["m"], "--engine-model model=m: there is no --engine model=URL"),
        (["http://a"], ["m", "n"], "model has several names, m, n"),
    ],
)
def test_what_is_refused(urls: list[str], names: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        served_models(urls, names, DEFAULT)
