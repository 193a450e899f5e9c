"""A sequence head read in mid-response, from scores on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr_data import pipeline
from asr_data.config import ScoringConfig
from asr_data.pipeline.mid_response import check_mid_response
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.load import load_scorer

FP32 = ScoringConfig(dtype="float32", device="cpu")


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
    assert 0 <= found.low <= found.in_middle <= found.high <= 1
