"""Findings by group against figures by hand."""

from __future__ import annotations

import numpy as np
import pytest

from asr_data.evaluation import by_group
from asr_data.evaluation.by_group import findings_by_group
from asr_data.statistics.bootstrap import Measure


def test_groups_in_the_order_of_their_rows_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*values: float) -> dict[str, Measure]:
        return {"segment_auroc": Measure.mean_of(values)}

    nan = float("nan")
    judged = type("Judged", (), {})()
    judged.loaded = type("Loaded", (), {"groups": ['"b"', '"b"', '"a"', '"a"', '"b"', "3"]})()
    judged.measures = measure(nan, 0.5, nan, 0.25, 1.0, nan)
    judged.controls = {"position": measure(nan, 0.25, nan, 0.5, 0.25, nan), "chance": measure(*[0.5] * 6)}
    asked = {}

    def judge(directory: object, tokenizer: object, options: object) -> object:
        asked["options"] = options
        return judged

    monkeypatch.setattr(by_group, "judge", judge)
    found = findings_by_group("dir", "topic", side="rejected")  # type: ignore[arg-type] # not opened
    assert (asked["options"].group, asked["options"].side) == ("topic", "rejected")
    assert [one.name for one in found] == ["b", "a", "3", "all"]
    assert [one.found.value for one in found] == [0.75, 0.25, None, pytest.approx(1.75 / 3)]
    assert [one.found.items for one in found] == [2, 1, 0, 3]
    assert [one.controls["position"] for one in found] == [0.25, 0.5, None, pytest.approx(1 / 3)]
    assert [one.ahead for one in found] == [True, False, False, True]
    assert (found[0].found.low, found[0].found.high) == (0.5, 1.0)  # either of the two drawn twice
    assert not np.isnan(found[3].found.low or 0)
