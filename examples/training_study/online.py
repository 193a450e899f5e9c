"""GRPO and APPO (paper, eq. 9): the policy's own answers, rewarded by the built-in scorer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from asr_data.scoring import Scorer
from asr_data.scoring.load import load_scorer
from asr_data.trl import AdaptiveGRPOTrainer, WinRateCallback

from .data import Pair, unique_prompts
from .methods import Method
from .policy import Policy
from .rewards import mean_rewards
from .run import Fit, Settings


def fit_online(
    policy: Policy, method: Method, pairs: Sequence[Pair], settings: Settings, seed: int, held_out: Sequence[Pair]
) -> Fit:
    """Train a fresh policy on line, and measure its win rate on held-out prompts where the settings say so.

    Both methods take the mean token reward as an answer's reward. ``appo`` trains on the segments that agree with the
    answer's advantage.
    """
    scorer = load_scorer("builtin")
    prompts = [{"prompt": pair.prompt} for pair in unique_prompts(pairs, len(pairs))]
    curve: list[float] = []

    def reward(prompts: list[Any], completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        found = answer_rewards(scorer, prompts, texts)
        curve.append(sum(found) / len(found))
        return found

    adapted: dict[str, Any] = {"scorer": scorer} if method.masks == "kept" else {}
    kind: Any = AdaptiveGRPOTrainer if method.masks == "kept" else GRPOTrainer
    with tempfile.TemporaryDirectory() as folder:
        trainer = kind(
            model=policy.model,
            reward_funcs=reward,
            args=GRPOConfig(folder, **_config(settings, policy.model.device, seed)),
            train_dataset=Dataset.from_list(prompts),
            processing_class=policy.tokenizer,
            **adapted,
        )
        if settings.win_rate_every:
            trainer.add_callback(_win_rate(trainer, policy, scorer, settings, held_out))
        trainer.train()
        win_rate = [entry for entry in trainer.state.log_history if "policy/win_ratio" in entry]
    policy.model.eval()
    return Fit(curve, win_rate)


def _win_rate(
    trainer: Any, policy: Policy, scorer: Scorer, settings: Settings, held_out: Sequence[Pair]
) -> WinRateCallback:
    return WinRateCallback(
        trainer,
        [pair.prompt for pair in held_out],
        every=settings.win_rate_every,
        scorer=scorer,
        reference=policy.base,
        max_new_tokens=settings.new_tokens,
        generation={"temperature": settings.temperature},
        batch_size=64,
    )


def answer_rewards(scorer: Scorer, prompts: Sequence[list[dict[str, str]]], texts: Sequence[str]) -> list[float]:
    """Mean token reward of each answer; the lowest of them where there is no text, or the scorer refuses it."""
    found = mean_rewards(scorer, prompts, texts)
    known = [reward for reward in found if reward is not None]
    return [min(known, default=0.0) if reward is None else reward for reward in found]


def _config(settings: Settings, device: torch.device, seed: int) -> Mapping[str, Any]:
    return {
        "use_cpu": device.type == "cpu",
        "bf16": True,
        "seed": seed,
        "max_steps": settings.online_steps,
        "per_device_train_batch_size": settings.batch,
        "num_generations": settings.answers,
        "max_completion_length": settings.new_tokens,
        "temperature": settings.temperature,
        "learning_rate": settings.learning_rate,
        "activation_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
