"""Sequence reward models against their own reading: every prefix as a conversation of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_data.config import ScoringConfig
from asr_data.errors import ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.scoring.presets import find_preset
from asr_data.types import ByteRewards, Completion, RejectedRow, Row

from .families_sequence_head import classifier_logit, plain_logit, save

FP32 = ScoringConfig(dtype="float32", device="cpu")
USER = [{"role": "user", "content": "How much is 2 + 2?"}]
ANSWERS = [
    ("The answer is four. That is all. Café 二!", "Five!"),
    ("One.\n\n\n\nTwo. ", "a. b. c. d. e. f. g."),
    ("word " * 20 + "end. And more.", "No"),
]
PARTS = {
    "The answer is four. That is all. Café 二!": ["The answer is four. ", "That is all.", " Café 二!"],
    "Five!": ["Five!"],
}


def head(name: str) -> dict[str, Tensor]:
    return {name: torch.randn(1, 32, generator=torch.Generator().manual_seed(1)) / 3}


def rows() -> list[Row]:
    def says(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    return [
        Row(i, {}, USER, (Completion("chosen", says(a), True), Completion("rejected", says(b), False)))
        for i, (a, b) in enumerate(ANSWERS)
    ]


def conversation(response: str) -> str:
    return f"<|im_start|>user\n{USER[0]['content']}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>\n"


FAMILIES: dict[str, dict[str, Any]] = {
    "skywork-reward-v2 llama": {"architecture": "LlamaForSequenceClassification", "head": "score.weight"},
    "skywork-reward-v2 qwen3": {"architecture": "Qwen3ForSequenceClassification", "head": "score.weight"},
    "openrlhf-rm": {
        "architecture": "RewardModel",
        "head": "score.weight",
        "settings": {"mean": 0.25, "std": 2.0, "value_head_prefix": "score"},
        "mean": 0.25,
        "std": 2.0,
    },
    "densereward": {"architecture": "RewardModel", "head": "score.weight"},
}


@pytest.fixture(params=FAMILIES)
def family(
    request: pytest.FixtureRequest, tmp_path: Path, make_tokenizer: Callable[..., Any]
) -> tuple[str, dict[str, Any], Path, Any]:
    chosen = FAMILIES[request.param]
    tokenizer = make_tokenizer("byte_level", "chatml")
    directory = save(
        tmp_path / "model", tokenizer, chosen["architecture"], head(chosen["head"]), **chosen.get("settings", {})
    )
    return request.param.split()[0], chosen, directory, tokenizer


def expected(chosen: dict[str, Any], directory: Path, ids: list[int], position: int = -1) -> float:
    logit = plain_logit(directory, ids, chosen["head"], position)
    return (logit - chosen.get("mean", 0.0)) / chosen.get("std", 1.0)


@pytest.mark.parametrize("batch_tokens", [4096, 64])
def test_equal_to_their_own_reading(family: tuple[str, dict[str, Any], Path, Any], batch_tokens: int) -> None:
    preset, chosen, directory, tokenizer = family
    scoring = FP32.model_copy(update={"batch_tokens": batch_tokens})
    scored = load_scorer(directory, preset=preset, scoring=scoring).score(rows())
    for pair, texts in zip(scored, ANSWERS, strict=True):
        assert isinstance(pair, tuple)
        for rewards, text in zip(pair, texts, strict=True):
            ids = tokenizer.hf.encode(conversation(text), add_special_tokens=False)
            assert rewards.reward == pytest.approx(expected(chosen, directory, ids), abs=1e-5)
            if find_preset(preset).config.read == "branch":
                check_prefixes(rewards, text, chosen, directory, tokenizer)
            else:
                check_tokens(rewards, ids, chosen, directory, tokenizer)


def check_prefixes(rewards: ByteRewards, text: str, chosen: dict[str, Any], directory: Path, tokenizer: Any) -> None:
    """Each prefix, closed, as a conversation of its own: tokens of the whole response, cut."""
    assert rewards.span_end[0] == 0
    assert rewards.span_end[-1] == len(text.encode())
    assert rewards.step_end.tolist() == rewards.span_end[1:].tolist()
    data = text.encode()
    for end, reward in zip(rewards.span_end.tolist(), rewards.span_reward.tolist(), strict=True):
        ids = tokenizer.hf.encode(conversation(data[:end].decode()), add_special_tokens=False)
        assert reward == pytest.approx(expected(chosen, directory, ids), abs=1e-5)
    if text in PARTS:
        parts = [data[a:b].decode() for a, b in zip(rewards.span_end, rewards.span_end[1:], strict=False)]
        assert parts == PARTS[text]


def check_tokens(rewards: ByteRewards, ids: list[int], chosen: dict[str, Any], directory: Path, tokenizer: Any) -> None:
    """Every token of the response, read where it stands."""
    prompt = tokenizer.hf.encode(conversation("").removesuffix("<|im_end|>\n"), add_special_tokens=False)
    first = len(prompt)
    positions = [first - 1, *range(first, len(ids) - 2)]  # the last two close the turn
    wanted = [expected(chosen, directory, ids, p) for p in positions]
    np.testing.assert_allclose(rewards.span_reward, wanted, atol=1e-5)


def test_transformers_own_classifier_agrees(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer("byte_level", "chatml")
    directory = save(tmp_path / "m", tokenizer, "LlamaForSequenceClassification", head("score.weight"))
    [pair] = load_scorer(directory, preset="skywork-reward-v2", scoring=FP32).score(rows()[:1])
    assert isinstance(pair, tuple)
    ids = tokenizer.hf.encode(conversation(ANSWERS[0][0]), add_special_tokens=False)
    assert pair[0].reward == pytest.approx(classifier_logit(directory, ids), abs=1e-5)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"scores.weight": torch.zeros(1, 32)}, "missing"),
        ({}, "missing"),
        ({"score.weight": torch.zeros(1, 16)}, "shape"),
        ({"score.weight": torch.zeros(2, 32)}, "shape"),
    ],
)
def test_a_wrong_head(
    tensors: dict[str, Tensor], message: str, tmp_path: Path, make_tokenizer: Callable[..., Any]
) -> None:
    directory = save(tmp_path / "m", make_tokenizer(), "LlamaForSequenceClassification", tensors)
    with pytest.raises(ScorerError, match=message):
        load_scorer(directory, preset="skywork-reward-v2", scoring=FP32)


def test_a_response_that_does_not_fit(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> None:
    directory = save(tmp_path / "m", make_tokenizer(), "LlamaForSequenceClassification", head("score.weight"))
    scorer = load_scorer(directory, preset="skywork-reward-v2", scoring=FP32.model_copy(update={"max_length": 40}))
    answers = scorer.score(rows())
    assert isinstance(answers[2], RejectedRow)
    assert answers[2].code == "too_long"
