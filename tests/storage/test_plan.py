"""Plans: their JSON, their run_id, and manifests that were written before plans had a type."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from asr_data.config import MaskConfig
from asr_data.errors import ConfigError
from asr_data.storage import Plan, TokenizerRecord, load_manifest
from asr_data.storage.plan import canonical_json, plain_json, plan_differences

from .conftest import plan_for

WRITTEN = Path(__file__).parent / "data" / "masked-0.1.0.json"
"""``asr.json`` of a run over the sample, by the version of 27 November 2026, whose plans were plain dictionaries."""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "asr.json").write_bytes(WRITTEN.read_bytes())
    return tmp_path


def test_the_canonical_json_by_hand() -> None:
    assert canonical_json({"b": "é", "a": (1, 2)}) == '{"a":[1,2],"b":"\\u00e9"}'
    assert list(plain_json({"b": "é", "a": (1, 2)}).items()) == [("a", [1, 2]), ("b", "é")]
    with pytest.raises(ConfigError, match="no JSON form"):
        canonical_json({"a": float("inf")})


def test_a_run_id_is_the_sha256_of_the_canonical_json() -> None:
    plan = plan_for()
    text = json.dumps(plan.to_json(), sort_keys=True, separators=(",", ":"))
    assert plan.run_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_what_was_not_asked_for_is_left_out() -> None:
    scored = plan_for(mask=None, tokenizer=None)
    assert list(scored.to_json()) == [
        "input", "layout", "scorer", "scorer_tokenizer", "scoring", "output", "versions",
    ]  # fmt: skip
    masked = scored.masked(TokenizerRecord(name="t", fingerprint="f"), MaskConfig(reward="delta"))
    assert list(masked.to_json())[-3:] == ["tokenizer", "mask", "response_text"]
    assert Plan.model_validate(masked.to_json()) == masked


@pytest.mark.parametrize(("rows", "shards"), [(0, 0), (1, 1), (4, 2), (5, 3)])
def test_shards(rows: int, shards: int) -> None:
    plan = plan_for(output={"shard_rows": 2})
    assert plan.model_copy(update={"input": plan.input.model_copy(update={"rows": rows})}).shards == shards


def test_differences_by_hand() -> None:
    assert plan_differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []
    assert plan_differences({"a": {"b": 1, "c": []}}, {"a": {"b": 2}}) == [
        "a.b: was 1, now 2",
        "a.c: was [], now nothing",
    ]


def test_an_old_manifest_loads_with_its_columns_in_order(written: Path) -> None:
    plan = load_manifest(written).plan
    assert list(plan.input.column_types) == ["prompt", "chosen", "rejected", "topic", "language", "fault_spans"]
    assert list(plan.scorer.settings)[:2] == ["head", "recognised"]
    assert plan.layout.format == "fault_pairs"


def test_an_equal_run_keeps_the_run_id_that_an_old_manifest_has(written: Path) -> None:
    assert load_manifest(written).plan.run_id == "a52f1bd57f5f3110"


def test_an_old_manifest_is_written_as_it_was(written: Path) -> None:
    assert load_manifest(written).to_bytes() == WRITTEN.read_bytes()
