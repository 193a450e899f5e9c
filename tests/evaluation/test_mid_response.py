"""A sequence head read in mid-response: by hand, and from scores on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_data import pipeline
from asr_data.config import ScoringConfig
from asr_data.evaluation.mid_response import check_mid_response, mid_response
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.load import load_scorer
from asr_data.types import ByteRewards

FP32 = ScoringConfig(dtype="float32", device="cpu")


def rewards(*values: float, reward: float | None = 0.0) -> ByteRewards:
    """Spans of two bytes each, after the end of the prompt."""
    ends = np.arange(0, 2 * len(values), 2, dtype=np.int32)
    return ByteRewards(ends, np.array(values, dtype=np.float32), np.zeros(0, dtype=np.int32), reward)


def test_by_hand() -> None:
    pairs = [
        # Six bytes: the middle one, 3, is in the second span after the prompt's.
        (rewards(9, 0, 2, 0, reward=5), rewards(0, 9, 1, 9, reward=1)),  # right in the middle, right at the end
        (rewards(0, 0, 1, 0, reward=5), rewards(0, 0, 1, 0, reward=1)),  # a tie, right
        (rewards(0, 0, 0, 0, reward=0), rewards(0, 0, 1, 0, reward=1)),  # wrong, wrong
        (rewards(0, 7, reward=5), rewards(0, 6, reward=1)),  # one span
    ]
    found = mid_response(pairs)
    assert found is not None
    assert (found.pairs, found.at_end, found.in_middle.value) == (4, 0.75, 0.625)
    assert found.in_middle.low is not None
    assert found.in_middle.high is not None
    assert found.in_middle.low < 0.5 < found.in_middle.high
    assert "62%" in str(found.warning)
    assert "at the end 75%" in str(found.warning)


def test_no_warning_where_the_middle_says_something() -> None:
    found = mid_response([(rewards(0, 1, reward=1), rewards(0, 0, reward=0))] * 20)
    assert found is not None
    assert (found.in_middle.value, found.in_middle.low, found.warning) == (1.0, 1.0, None)


def test_nothing_to_compare() -> None:
    assert mid_response([]) is None
    assert mid_response([(rewards(0, 1, reward=None), rewards(0, 1))]) is None


@pytest.mark.parametrize(("settings", "asked"), [({"kind": "seq_head", "read": "every"}, True), ({}, False)])
def test_check(settings: dict[str, str], asked: bool, tmp_path: Path, make_checkpoint: Callable[..., Path]) -> None:
    head = {"score.weight": torch.randn(1, 32, generator=torch.Generator().manual_seed(1))}
    scorer = load_scorer(make_checkpoint(tmp_path / "m", head, settings), scoring=FP32)
    rows = tmp_path / "rows.jsonl"
    pairs = [{"prompt": f"Question {i}? ", "chosen": f"Yes, {i}.", "rejected": "No. " * (i + 1)} for i in range(5)]
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    source = open_source(rows)
    pipeline.score(source, detect(source.schema, first_records(source)), tmp_path / "out", scorer)
    found = check_mid_response(tmp_path / "out")
    if not asked:
        assert found is None
        return
    assert found is not None
    assert found.pairs == 5
    middle: Any = found.in_middle
    assert 0 <= middle.low <= middle.value <= middle.high <= 1
