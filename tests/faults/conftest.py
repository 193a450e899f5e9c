"""One lab for all tests of this folder: the process that forks takes seconds to start."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()
