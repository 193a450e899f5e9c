"""A directory of somebody else: its manifest says what it likes, with a right checksum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asr_data.config import MaskConfig
from asr_data.errors import CorruptFileError
from asr_data.storage import load_manifest
from asr_data.storage.seal import sealed_json, unsealed


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


def rewrite(bench: Any, change: Callable[[dict[str, Any]], None]) -> None:
    path = bench.folder / "scored" / "asr.json"
    content = unsealed(path, path.read_bytes())
    change(content)
    path.write_bytes(sealed_json(content))


@pytest.mark.parametrize(
    ("part", "forged", "message"),
    [
        ("output", {"split": "../../x"}, r"plan\.output\.split"),
        ("output", {"split": "x"}, "plan.output is not what output says"),
        ("scoring", {"dtype": 3}, r"plan\.scoring\.dtype"),
        ("versions", [], r"plan\.versions"),
        ("versions", {"numpy": "1"}, "plan.versions is not what versions says"),
        ("reference", "none", r"plan\.reference"),
        ("layout", {"kind": "surprise", "columns": {}}, r"plan\.layout\.kind"),
        ("layout", {"kind": "preference", "columns": {"chosen": "chosen"}}, "kind is preference, but the roles"),
        ("layout", {"kind": "labelled", "columns": {}, "format": "surprise"}, "no such format: 'surprise'"),
        ("layout", {"kind": "unpaired", "columns": {"messages": "m", "label": "l"}}, "sides are chosen, rejected, but"),
    ],
)
def test_a_plan_that_is_not_the_manifests_own(bench: Any, pairs: Any, part: str, forged: Any, message: str) -> None:
    bench.score(pairs)
    rewrite(bench, lambda content: content["plan"].update({part: forged}))
    with pytest.raises(CorruptFileError, match=message):
        bench.mask("scored", "after", MaskConfig())


def test_a_manifest_without_a_plan(bench: Any, pairs: Any) -> None:
    bench.score(pairs)
    rewrite(bench, lambda content: content.pop("plan"))
    with pytest.raises(CorruptFileError, match="plan: Field required"):
        bench.mask("scored", "after", MaskConfig())
