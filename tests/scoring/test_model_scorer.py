"""A scorer that runs a model: what it says of its work beforehand is what it reports afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from asr_data import load_scorer
from asr_data.config import ScoringConfig
from asr_data.types import Completion, Row


def test_the_tokens_to_be_read_are_known_beforehand(
    tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]
) -> None:
    size = len(make_tokenizer("byte_level").hf)
    weight = torch.randn(size, 32, generator=torch.Generator().manual_seed(0))
    make_checkpoint(tmp_path / "policy", {"lm_head.weight": weight}, kind="byte_level")
    scoring = ScoringConfig(dtype="float32", device="cpu", batch_tokens=512)
    # Two readings of every rejected answer: one with the better answer in view, one without.
    scorer = load_scorer(tmp_path / "policy", preset="hindsight", scoring=scoring)
    rows = [pair(number) for number in range(5)]
    told: list[int] = []
    prepared = scorer.prepare(rows)  # type: ignore[attr-defined] # of those that run a model
    scorer.score_prepared(rows, prepared, told.append)  # type: ignore[attr-defined]
    assert len(told) > 1
    assert scorer.tokens(prepared) == sum(told)  # type: ignore[attr-defined]


def pair(number: int) -> Row:
    """One pair in messages."""
    asked = [{"role": "user", "content": f"What is {number} + {number}?"}]
    answers = {"chosen": f"It is {2 * number}.", "rejected": f"It is {2 * number + 1}, as everybody knows."}
    sides = [
        Completion(side, [{"role": "assistant", "content": text}], preferred=side == "chosen")  # type: ignore[arg-type]
        for side, text in answers.items()
    ]
    return Row(number, {}, asked, tuple(sides))
