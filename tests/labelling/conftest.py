"""Annotated directories to label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr_data.config import MaskConfig
from asr_data.pipeline import run
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from asr_data.storage import AnnotatedDirectory, open_output

ROWS = [
    {
        "prompt": f"Question {n}?",
        "chosen": f"It is {n} and so on.",
        "rejected": f"Nobody knows that of {n}, or so I think.",
    }
    for n in range(4)
]


def by_word(prompt: Any, response: str) -> list[tuple[int, int, float]]:
    """A reward for each word: its length over ten."""
    found, start = [], 0
    for word in response.split(" "):
        end = min(len(response), start + len(word) + 1)
        found.append((start, end, len(word) / 10))
        start = end
    return found


@pytest.fixture
def annotate(make_tokenizer: Callable[..., Any], tmp_path: Path) -> Callable[..., AnnotatedDirectory]:
    """``annotate(mask=…)``: four pairs."""

    def make(mask: MaskConfig) -> AnnotatedDirectory:
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        source = open_source(path)
        info = ScorerInfo("by_word", "rule", "value", hashlib.sha256(b"by_word").hexdigest())
        layout = detect(source.schema, first_records(source))
        run(source, layout, tmp_path / "out", RuleScorer(by_word, info), make_tokenizer(), mask=mask)
        return open_output(tmp_path / "out")

    return make
