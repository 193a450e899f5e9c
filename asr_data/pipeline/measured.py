"""What scorers and references measure on the way: from the shards' records to the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import JsonValue

from asr_data.scoring.protocol import Measured, largest
from asr_data.storage.work import ShardRecord

_PREFIXES: Final = ("engine_", "logprobs_engine_")


def measured_json(model: Any) -> dict[str, JsonValue]:
    """What a scorer or a reference has measured, for a shard's record; empty where that is nothing."""
    found: dict[str, JsonValue] = {**model.measured} if isinstance(model, Measured) else {}
    return {"measured": found} if found else {}


def measured_of(records: Iterable[ShardRecord]) -> dict[str, float]:
    """For the manifest: the largest number of each name over all shards."""
    found: list[Any] = [record.extra.get("measured", {}) for record in records]
    return largest(found)


def measured_before(statistics: Mapping[str, float]) -> dict[str, float]:
    """Of a scored directory whose masks are made anew."""
    return {name: value for name, value in statistics.items() if name.startswith(_PREFIXES)}
