"""The on-line methods (paper, §4.1, eq. 9 to 11): the policy's own answers, rewarded by a scorer."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer
from trl.trainer.utils import add_fused_lm_head

from asr_data.config import ScoringConfig
from asr_data.scoring import Scorer
from asr_data.scoring.load import load_scorer
from asr_data.trl import AdaptiveGRPOTrainer, AdaptiveOnlineDPOTrainer, AdaptiveOnlineRSTrainer, WinRateCallback

from .data import Pair, unique_prompts
from .methods import Method
from .policy import Policy
from .rewards import mean_rewards
from .run import Fit, Settings

_KEEP_ALL = {"segmenter": "sequence", "baseline": -1e9}
"""Masks of a chosen answer that leave nothing out: TRL has no rejection sampling to compare with."""

Reward = Callable[..., list[float]]


def fit_online(
    policy: Policy, method: Method, pairs: Sequence[Pair], settings: Settings, seed: int, held_out: Sequence[Pair]
) -> Fit:
    """Train a fresh policy on line, and measure its win rate on held-out prompts where the settings say so.

    All take the mean token reward as an answer's reward: it says which answers are chosen, or their advantage. Methods
    with masks train on the segments that agree with that.
    """
    scorer = load_scorer(settings.scorer, scoring=ScoringConfig(device=str(policy.model.device)))
    prompts = [{"prompt": pair.prompt} for pair in unique_prompts(pairs, len(pairs))]
    curve: list[float] = []

    def reward(prompts: list[Any], completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        found = answer_rewards(scorer, prompts, texts)
        curve.append(sum(found) / len(found))
        return found

    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(policy, method, settings, scorer, reward, folder, seed)(Dataset.from_list(prompts))
        if method.loss == "online-rs":
            # TRL would load a reference by the model's name, which this one has not.
            trainer.beta, trainer.ref_model = settings.kl, copy.deepcopy(policy.base)
            add_fused_lm_head(trainer.ref_model, temperature=settings.temperature)
        if settings.win_rate_every:
            trainer.add_callback(_win_rate(trainer, policy, scorer, settings, held_out))
        trainer.train()
        history = trainer.state.log_history
    policy.model.eval()
    return Fit(
        curve,
        [entry for entry in history if "policy/win_ratio" in entry],
        [entry for entry in history if "policy/win_ratio" not in entry and "train_runtime" not in entry],
    )


def _trainer(
    policy: Policy, method: Method, settings: Settings, scorer: Scorer, reward: Reward, folder: str, seed: int
) -> Callable[[Dataset], Any]:
    """What makes the method's trainer of its prompts."""
    masked = method.masks == "kept"
    adapted: dict[str, Any] = {"scorer": scorer} if masked else {}
    common = _common(settings, policy.model.device, seed)
    own: dict[str, Any]
    kind: Any
    config: Any
    if method.loss == "online-dpo":
        kind = AdaptiveOnlineDPOTrainer if masked else OnlineDPOTrainer
        config = OnlineDPOConfig(folder, **common, **_pairs(settings))
        own = {"ref_model": policy.base}
    elif method.loss == "online-rs":
        kind, config = AdaptiveOnlineRSTrainer, GRPOConfig(folder, **common, **_groups(settings))
        own = {"scorer": scorer, "mask": None if masked else _KEEP_ALL}
    else:
        kind = AdaptiveGRPOTrainer if masked else GRPOTrainer
        config, own = GRPOConfig(folder, **common, **_groups(settings)), {}

    def make(prompts: Dataset) -> Any:
        return kind(
            model=policy.model,
            reward_funcs=reward,
            args=config,
            train_dataset=prompts,
            processing_class=policy.tokenizer,
            **{**adapted, **own},
        )

    return make


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


def _common(settings: Settings, device: torch.device, seed: int) -> Mapping[str, Any]:
    return {
        "use_cpu": device.type == "cpu",
        "bf16": True,
        "seed": seed,
        "max_steps": settings.online_steps,
        "temperature": settings.temperature,
        "learning_rate": settings.learning_rate,
        "activation_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _groups(settings: Settings) -> Mapping[str, Any]:
    return {
        "per_device_train_batch_size": settings.batch,
        "num_generations": settings.answers,
        "max_completion_length": settings.new_tokens,
    }


def _pairs(settings: Settings) -> Mapping[str, Any]:
    return {
        "per_device_train_batch_size": max(1, settings.batch // 2),
        "max_new_tokens": settings.new_tokens,
        "max_length": settings.max_length + settings.new_tokens,
        "beta": settings.beta,
    }
