from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from asr_data.config import MaskConfig, Optimal, Schmitt
from asr_data.settings import MultipleOf, Settings, SweepValues
from asr_data.view.server import controls as made
from asr_data.view.server.controls import Scale, complete, controls

SCALE = Scale(low=-2.0, high=3.0, spread=4.0)


def named(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {control["name"]: control for control in found}


def test_every_setting_has_a_control() -> None:
    found = named(controls(SCALE))
    assert list(found) == list(MaskConfig.model_fields)
    sorts = {name: control["sort"] for name, control in found.items()}
    assert {name: sorts[name] for name in ("segmenter", "baseline", "reward", "detrend")} == {
        "segmenter": "union",
        "baseline": "union",
        "reward": "choice",
        "detrend": "flag",
    }
    assert "text" not in sorts.values()


def test_a_union_has_each_member_with_its_own_fields() -> None:
    segmenter = named(controls(SCALE))["segmenter"]
    members = {option["kind"]: named(option["fields"]) for option in segmenter["options"]}
    assert list(members["schmitt"]) == ["smooth", "delta", "down"]
    delta = members["schmitt"]["delta"]
    assert (delta["words"], delta["low"], delta["high"], delta["log"]) == (["auto"], 0.0, 4.0, False)
    # tried: 0.5 to 8; the slider goes ten times further either way
    assert (delta["factor"]["name"], delta["factor"]["low"], delta["factor"]["high"]) == ("k", 0.05, 80.0)
    assert members["schmitt"]["smooth"]["words"] == ["none"]
    assert members["optimal"]["penalty"]["high"] == 16.0  # c² is in squares of rewards
    assert named(members["optimal"]["boundary"]["fields"]).keys() == {
        "inside_word",
        "word",
        "clause",
        "sentence",
        "line",
    }
    baseline = {option["kind"]: named(option["fields"]) for option in named(controls(SCALE))["baseline"]["options"]}
    assert (baseline["fixed"]["value"]["low"], baseline["fixed"]["value"]["high"]) == (-2.0, 3.0)
    assert (baseline["running"]["decay"]["low"], baseline["running"]["decay"]["high"]) == (0.0, 1.0)


class _Other(Settings):
    kind: Literal["other"] = "other"
    length: Annotated[int, Field(ge=1, description="How long."), SweepValues(5, 100)] = 5
    share: Annotated[float | Literal["auto"], Field(ge=0)] = "auto"
    by: Annotated[float, Field(gt=0), MultipleOf("share")] = 2.0


def test_a_field_that_nobody_knew_gets_a_control(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wider(MaskConfig):
        other: _Other = _Other()

    monkeypatch.setattr(made, "MaskConfig", Wider)
    other = named(controls(SCALE))["other"]
    fields = named(other["options"][0]["fields"])
    assert (other["sort"], list(fields)) == ("union", ["length", "share"])
    assert (fields["length"]["low"], fields["length"]["high"], fields["length"]["whole"]) == (1, 200, True)
    assert fields["share"]["factor"]["default"] == 2.0


def test_settings_are_complete_and_come_back() -> None:
    config = MaskConfig(segmenter=Schmitt(delta=0.5), detrend=True)
    found = complete(config)
    assert (found["detrend"], found["unknown"], found["segmenter"]["down"]) == (True, "keep", 1.0)
    assert MaskConfig.model_validate(found) == config
    assert MaskConfig.model_validate(complete(MaskConfig(segmenter=Optimal(boundary=None)))).segmenter == Optimal(
        boundary=None
    )
