"""A tokenizer with more ids than the model has embeddings: the rows that hold them are rejected, the others scored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_data.config import ScoringConfig
from asr_data.scoring.load import load_scorer
from asr_data.scoring.reference import load_reference
from asr_data.text import align
from asr_data.types import Completion, RejectedRow, Row

MakeCheckpoint = Callable[..., Path]
PLAIN = ScoringConfig(dtype="float32")


def row(index: int, text: str) -> Row:
    prompt = [{"role": "user", "content": text}]
    return Row(
        index, {}, prompt, (Completion("completion", [{"role": "assistant", "content": "Yes."}], preferred=True),)
    )


ROWS = [row(0, "Use <|tool|> please"), row(1, "Use it")]


def with_a_token_more(directory: Path) -> Path:
    from asr_data.text import load_tokenizer

    hf = load_tokenizer(directory).hf
    hf.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    hf.save_pretrained(directory)
    return directory


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def size(make_tokenizer: Callable[..., Any]) -> int:
    return len(make_tokenizer().hf)


@pytest.mark.parametrize("kind", ["token_head", "seq_head", "lm_label_tokens"])
def test_a_row_with_such_a_token_is_rejected(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, size: int, kind: str
) -> None:
    head = {"lm_head.weight": normal(size, 32)} if kind == "lm_label_tokens" else {"score.weight": normal(1, 32)}
    settings: dict[str, Any] = {"kind": kind}
    if kind == "lm_label_tokens":
        settings |= {"good": "a", "bad": "b", "steps": {"split": "\n", "separator": "<sep>", "read": "separator"}}
    scorer = load_scorer(with_a_token_more(make_checkpoint(tmp_path, head, settings)), scoring=PLAIN)
    rejected, scored = scorer.score(ROWS)
    assert isinstance(rejected, RejectedRow)
    assert rejected.code == "scorer_error"
    assert f"'<|tool|>' has the id {size}, but the model has embeddings for {size} ids" in rejected.message
    assert f"its tokenizer has {size + 1}" in rejected.message
    assert isinstance(scored, tuple)


def test_the_smaller_of_policy_and_reference_counts(tmp_path: Path, make_checkpoint: MakeCheckpoint, size: int) -> None:
    policy = with_a_token_more(make_checkpoint(tmp_path / "p", {"lm_head.weight": normal(size, 32)}))
    reference = shutil.copytree(policy, tmp_path / "r")
    scorer = load_scorer(policy, preset="dpo-pair", reference=reference, scoring=PLAIN)
    rejected, scored = scorer.score(ROWS)
    assert isinstance(rejected, RejectedRow)
    assert isinstance(scored, tuple)


def test_a_reference_leaves_such_a_row_out(tmp_path: Path, make_checkpoint: MakeCheckpoint, size: int) -> None:
    reference = load_reference(
        with_a_token_more(make_checkpoint(tmp_path, {"lm_head.weight": normal(size, 32)})), PLAIN
    )
    found = reference.log_probabilities([align(one, reference.tokenizer) for one in ROWS])
    assert found[0] is None
    assert found[1] is not None


def test_a_padded_embedding_is_no_fault(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, {"score.weight": normal(1, 32)}, {"kind": "token_head"})
    assert json.loads((directory / "config.json").read_text(encoding="utf-8"))["vocab_size"] > 0
    assert all(isinstance(answer, tuple) for answer in load_scorer(directory, scoring=PLAIN).score(ROWS[1:]))
