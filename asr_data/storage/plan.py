"""What a run was asked for, and how two such plans differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import JsonValue

from asr_data.storage.manifest import canonical_json

_ABSENT: Final = "nothing"


def plain_plan(plan: Mapping[str, Any]) -> dict[str, JsonValue]:
    """The plan as it will be read back from JSON (tuples become lists).

    Raises:
        ConfigError: a value without a JSON form.
    """
    result: dict[str, JsonValue] = json.loads(canonical_json(plan))
    return result


def plan_differences(before: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> list[str]:
    """One line per setting that differs: its dotted name and both values, in order of name."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        f"{name}: was {old.get(name, _ABSENT)}, now {new.get(name, _ABSENT)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]


def _flat(plan: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in plan.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False)
