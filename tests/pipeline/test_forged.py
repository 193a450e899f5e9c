"""A directory of somebody else: its manifest says what it likes, with a right checksum."""

from __future__ import annotations

from typing import Any

import pytest

from asr_data.config import MaskConfig
from asr_data.errors import CorruptFileError
from asr_data.storage import load_manifest


def forge(bench: Any, **changes: Any) -> None:
    manifest = load_manifest(bench.folder / "scored").model_copy(update=changes)
    (bench.folder / "scored" / "asr.json").write_bytes(manifest.to_bytes())


@pytest.mark.parametrize(
    ("folder", "message"), [("scores", "2 files in data/, 1 in scores/"), ("data", "1 files in data/, 2 in scores/")]
)
def test_files_that_do_not_belong_together(bench: Any, pairs: Any, folder: str, message: str) -> None:
    bench.score(pairs[:3], shard_rows=2)
    files = load_manifest(bench.folder / "scored").files
    last = max(file.path for file in files if file.path.startswith(folder))
    forge(bench, files=tuple(file for file in files if file.path != last))
    with pytest.raises(CorruptFileError, match=message):
        bench.mask("scored", "out", MaskConfig())


def test_a_plan_that_is_not_the_manifests_own(bench: Any, pairs: Any) -> None:
    bench.score(pairs)
    bench.mask("scored", "before", MaskConfig())
    plan = load_manifest(bench.folder / "scored").plan
    forged = {"output": {"split": "../../x"}, "scoring": {"dtype": 3}, "versions": [], "reference": "none"}
    forge(bench, plan={**plan, **forged})
    bench.mask("scored", "after", MaskConfig())
    assert bench.files("after") == bench.files("before")
