from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import CorruptFileError
from asr_data.storage import load_manifest
from asr_data.storage.seal import sealed_json


def test_a_manifest_comes_back_as_it_was_written(write: Any) -> None:
    path = write()
    manifest = load_manifest(path)
    assert manifest.to_bytes() == (path / "asr.json").read_bytes()
    assert manifest.counts.rejects == {"empty_prompt": 1}
    assert [record.path for record in manifest.files_of("scores")] == ["scores/train-00000.parquet"]
    assert manifest.input.column_types == {
        "prompt": "string",
        "messages": "list<item: struct<role: string, content: string>>",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contract_version": 2}, "contract_version is 2, but this package reads version 1"),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"statistics": {"sigma": "NaN"}}, r"statistics\.sigma"),
        ({"output": {"split": "../../x"}}, r"output\.split"),
        ({"mask": None}, "stage is masked, but mask does not say how"),
        ({"run_id": "xyz"}, "run_id: String should match"),
        (
            {"files": [{"path": "../x", "rows": 0, "bytes": 0, "sha256": "0" * 64}]},
            r"files\.0\.path.*'\.\./x'",
        ),
    ],
)
def test_what_cannot_be_understood_is_named(write: Any, change: dict[str, Any], message: str) -> None:
    path = write()
    content = json.loads((path / "asr.json").read_bytes())
    del content["sha256"]
    (path / "asr.json").write_bytes(sealed_json(content | change))
    with pytest.raises(CorruptFileError, match=message):
        load_manifest(path)


def test_a_missing_and_a_torn_manifest(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"missing; .* is not a finished output"):
        load_manifest(tmp_path)
    for content in (b'{"contract', b"[1]", b"\xff"):
        (tmp_path / "asr.json").write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"is not JSON|contract_version is None"):
            load_manifest(tmp_path)
