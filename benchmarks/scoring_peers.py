"""What people run today, each on the same decoder, in the same dtype, on the same rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from asr_data.scoring.engine import Engine, Request, pad

BATCH = 16


@torch.inference_mode()
def padded_loop(engine: Engine, requests: Sequence[Request], order: Sequence[int]) -> list[np.ndarray]:
    """Batches of 16 sequences, each written out in full and padded to the longest of its batch."""
    device = next(engine.backbone.parameters()).device
    out: list[np.ndarray] = [np.zeros(0)] * len(requests)
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        ids, attention = pad([requests[i].ids for i in batch])
        states = engine.backbone(
            input_ids=ids.to(device), attention_mask=attention.to(device), use_cache=False
        ).last_hidden_state
        rewards = engine.readout(states.flatten(0, 1), None).reshape(ids.shape).float().cpu()
        for row, i in zip(rewards, batch, strict=True):
            out[i] = row[requests[i].read].numpy()
    return out


@contextmanager
def sequence_classifier(engine: Engine, tokenizer: Any) -> Iterator[tuple[str, Any]]:
    """A folder with the decoder under a head of one label, and the model itself. One score a response, not a token."""
    from transformers import AutoModelForSequenceClassification

    config: Any = engine.backbone.config
    parameter = next(engine.backbone.parameters())
    with tempfile.TemporaryDirectory() as folder:
        config.num_labels, config.pad_token_id = 1, tokenizer.pad_token_id or 0
        model = AutoModelForSequenceClassification.from_config(config, dtype=parameter.dtype).eval()
        model.base_model.load_state_dict(engine.backbone.state_dict())
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        yield folder, model.to(parameter.device)


def pipeline_scores(folder: str, model: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """transformers' ``pipeline("text-classification")``, batches of 16."""
    from transformers import pipeline

    run = pipeline("text-classification", model=folder, tokenizer=folder, dtype=model.dtype, device=model.device)
    return [np.array([r["score"]]) for r in run(list(texts), batch_size=BATCH, function_to_apply="none")]


def trl_rewards(tokenizer: Any, model: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """TRL's own: ``GRPOTrainer._calculate_rewards`` with a reward model, 16 completions a call."""
    from accelerate import PartialState
    from trl import GRPOTrainer

    PartialState()

    class Trainer(GRPOTrainer):  # type: ignore[misc] # only what the method asks of it
        def __init__(self) -> None:
            self.accelerator = SimpleNamespace(device=model.device, is_main_process=True)
            self.reward_funcs, self.reward_processing_classes, self.reward_func_names = [model], [tokenizer], ["reward"]
            self.state, self.environments = SimpleNamespace(global_step=0), None
            self.chat_template_kwargs: dict[str, Any] = {}
            self.args = SimpleNamespace(report_to=[], past_index=-1, device=model.device)
            self.is_deepspeed_enabled = False
            self._log_completion_extra = self._log_metric = None

    trainer, out = Trainer(), []
    for first in range(0, len(texts), BATCH):
        batch = list(texts[first : first + BATCH])
        rewards = trainer._calculate_rewards([{}] * len(batch), [""] * len(batch), batch, [[]] * len(batch))
        out += [np.array([float(reward)]) for reward in rewards[:, 0]]
    return out
