"""GRPO on line: the masks are those of ``adaptive_mask`` over the scorer's rewards, and the loss is over them alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from asr_data.errors import ConfigError
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from tests.trl.conftest import assert_same_gradients, messages, plain, token_logps

# TRL 1.16 asks transformers 5.23 by the old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PROMPTS = ["What is 2 + 2?", "Name a colour."]


def halves(_: Any, response: str) -> list[tuple[int, int, float]]:
    """The first half of a response is bad, the second good."""
    middle = len(response) // 2
    return [(0, middle, -1.0), (middle, len(response), 1.0)]


def scorer(function: Any = halves, *, partial: bool = False) -> RuleScorer:
    info = ScorerInfo(name="halves", kind="rule", form="value", fingerprint="0" * 64, partial=partial)
    return RuleScorer(function, info)


def letters(completions: list[Any], **_: Any) -> list[float]:
    return [float(len(set(completion[0]["content"]))) for completion in completions]


@pytest.fixture
def make(policy: Path, common: dict[str, Any], tokenizer: Any) -> Callable[..., Any]:
    def build(**settings: Any) -> Any:
        from trl import GRPOConfig

        from asr_data.trl import AdaptiveGRPOTrainer

        own = {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 12, "beta": 0.0}
        return AdaptiveGRPOTrainer(
            model=str(policy),
            reward_funcs=letters,
            args=GRPOConfig(**{**common, **own, "max_steps": 1}),
            train_dataset=Dataset.from_list([{"prompt": messages("user", prompt)} for prompt in PROMPTS]),
            processing_class=tokenizer,
            **{"scorer": scorer(), **settings},
        )

    return build


def sampled(trainer: Any) -> dict[str, Any]:
    rows = [{"prompt": messages("user", prompt)} for prompt in PROMPTS for _ in range(2)]
    trainer.model.train()
    torch.manual_seed(0)
    return dict(trainer._generate_and_score_completions(rows))


def test_each_completion_keeps_the_half_that_fits_its_advantage(make: Callable[..., Any], tokenizer: Any) -> None:
    trainer = make(mask={"segmenter": "token", "baseline": 0.0, "end_token": "mask"})
    trainer.model.train()
    texts = ["Blue. The sky has it.", "Step 1: add the numbers."]
    own = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in texts]
    longest = max(map(len, own))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in own])
    valid = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in own])
    output = {"completion_ids": ids, "completion_mask": valid, "advantages": torch.tensor([1.0, -1.0])}
    mask = trainer._masks([messages("user", prompt) for prompt in PROMPTS], output)
    for row, text, kept, good in zip(own, texts, mask, (True, False), strict=True):
        start = 0
        for token, keep in zip(row[:-1], kept, strict=False):
            end = start + len(tokenizer.decode([token]))
            bad, well = max(0, min(end, len(text) // 2) - start), max(0, end - max(start, len(text) // 2))
            assert bool(keep) == ((well > bad) == good), (text, start, end)
            start = end
        assert start == len(text)
        assert not kept[len(row) - 1 :].any()  # the end token, and padding


def test_loss_and_gradients_are_the_masked_ones(make: Callable[..., Any]) -> None:
    trainer = make(mask={"segmenter": "token"})
    output = sampled(trainer)
    advantages = output["advantages"] = torch.tensor([1.0, -0.5, 2.0, -1.0])
    kept = (output["completion_mask"] * output["tool_mask"]).bool()
    assert 0 < int(kept.sum()) < int(output["completion_mask"].sum())
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, output)
    loss.backward()
    other = plain(trainer.model)
    other.zero_grad()
    terms = []
    for i, mask in enumerate(kept):
        prompt = output["prompt_ids"][i][output["prompt_mask"][i].bool()].tolist()
        completion = output["completion_ids"][i][output["completion_mask"][i].bool()].tolist()
        logps = token_logps(other, prompt + completion)[len(prompt) :]
        ratio = (logps - logps.detach()).exp()  # 1: the policy is the one that sampled
        terms.append((ratio * advantages[i] * mask[: len(completion)]).sum())
    expected = -torch.stack(terms).sum() / kept.sum()
    expected.backward()
    torch.testing.assert_close(loss.detach(), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)


def test_what_is_masked_has_no_part_in_the_loss(make: Callable[..., Any]) -> None:
    trainer = make()
    output = sampled(trainer)
    output["advantages"] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    output["tool_mask"] = torch.zeros_like(output["completion_mask"])
    output["tool_mask"][0, 0] = 1
    output["num_items_in_batch"] = torch.tensor(1)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, output)
    loss.backward()
    changed = {**output, "advantages": torch.tensor([1.0, 5.0, -5.0, 5.0])}
    assert trainer._compute_loss(trainer.model, changed).item() == loss.item()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trainer.model.parameters())


def test_completions_that_the_scorer_refuses_keep_all(make: Callable[..., Any]) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("no")

    trainer = make(scorer=scorer(refuse))
    output = sampled(trainer)
    assert torch.equal(output["tool_mask"], output["completion_mask"])
    assert trainer._metrics["train"]["mask/scored"] == [0.0]


def test_it_trains(make: Callable[..., Any]) -> None:
    trainer = make()
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "mask/kept" in entry]
    assert logged
    assert 0 < logged[-1]["mask/kept"] <= 1


def test_settings_that_would_be_wrong(make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="without a reward"):
        make(scorer=scorer(partial=True))
    with pytest.raises(ConfigError, match="valid cannot be set in mask"):
        make(mask={"valid": None})
