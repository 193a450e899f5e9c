"""The policy: a small language model, an adapter on it, log-probabilities and samples."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from asr_data.scoring.engine import one_batch
from asr_data.scoring.locate import packaged_file
from asr_data.scoring.quiet import quiet_transformers
from asr_data.scoring.tree_attention import read_places, tree_states
from asr_data.training.run import BUILTIN_BACKBONE

from .data import Pair

_SAMPLED = 64
"""Prompts that are answered together."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One response of the policy's own.

    Attributes:
        text: without special tokens.
        tokens: its length.
        ended: whether the policy ended it, within the tokens allowed.
    """

    text: str
    tokens: int
    ended: bool


class Policy:
    """A causal language model with a fresh adapter; the base is the reference.

    Args:
        base: of :func:`load_base`; it is copied, not changed.
        tokenizer: its tokenizer.
        rank: of the adapter.
        layers: how many of the decoder's last layers get one, on every linear map.
    """

    def __init__(self, base: Any, tokenizer: Any, rank: int, layers: int) -> None:
        self.base = base
        self.model = copy.deepcopy(base)
        self.tokenizer = tokenizer
        adapted = self.model.model.layers[-layers:]
        names = {id(part): name for name, part in self.model.model.named_modules() if isinstance(part, nn.Linear)}
        targets = [names[id(part)] for part in adapted.modules() if id(part) in names]
        with quiet_transformers():
            settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
            self.decoder = get_peft_model(self.model.model, settings)
        self.parameters = [p for p in self.decoder.parameters() if p.requires_grad]

    def log_probabilities(self, pairs: Sequence[Pair], sides: Sequence[str]) -> list[Tensor]:
        """See :func:`log_probabilities`."""
        return log_probabilities(self.decoder, self.model.lm_head, pairs, sides)

    @torch.no_grad()
    def sample(self, prompts: Sequence[Sequence[int]], new_tokens: int, temperature: float) -> list[Sample]:
        """One response to each prompt. The adapter is merged: nothing can be trained afterwards."""
        with quiet_transformers():
            self.model.model = self.decoder.merge_and_unload()
        samples: dict[int, Sample] = {}
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # less padding
        for first in range(0, len(order), _SAMPLED):
            some = order[first : first + _SAMPLED]
            samples |= zip(some, self._sample([prompts[i] for i in some], new_tokens, temperature), strict=True)
        return [samples[i] for i in range(len(prompts))]

    def _sample(self, prompts: Sequence[Sequence[int]], new_tokens: int, temperature: float) -> Iterator[Sample]:
        device = self.model.device
        longest = max(map(len, prompts))
        end = self.tokenizer.eos_token_id
        ids = torch.tensor([[end] * (longest - len(p)) + list(p) for p in prompts], device=device)
        attention = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        made = self.model.generate(
            input_ids=ids,
            attention_mask=attention,
            max_new_tokens=new_tokens,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            pad_token_id=end,
            eos_token_id=end,
        )
        for row in made[:, longest:].tolist():
            ended = end in row
            own = row[: row.index(end)] if ended else row
            yield Sample(self.tokenizer.decode(own, skip_special_tokens=True), len(own), ended)


def load_base(device: str, policy: str = "builtin") -> tuple[Any, Any]:
    """A policy, its decoder in bfloat16 and its head in float32, and its tokenizer.

    Args:
        device: where to put it.
        policy: ``builtin`` for SmolLM2-135M-Instruct; else a directory or a Hub id. No code of a checkpoint is run.

    Raises:
        SystemExit: the model is not built as Llama and Qwen are, with layers in ``model.layers`` and an ``lm_head``.
    """
    settings: dict[str, Any] = {"dtype": torch.bfloat16}
    location: dict[str, Any] = {}
    if policy == "builtin":
        path = packaged_file(BUILTIN_BACKBONE)
        policy, location = str(path.parent), {"gguf_file": path.name}
        settings = {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
    with quiet_transformers(), redirect_stderr(io.StringIO()):  # a bar that cannot be turned off
        model = AutoModelForCausalLM.from_pretrained(policy, **location, **settings)
        tokenizer = AutoTokenizer.from_pretrained(policy, **location)
    if not hasattr(model, "lm_head") or not hasattr(getattr(model, "model", None), "layers"):
        raise SystemExit(f"{policy}: a {type(model).__name__}; it needs layers in model.layers and an lm_head")
    # It may share its weights with the embedding, which is rounded now.
    model.lm_head = copy.deepcopy(model.lm_head).float()
    model.model.to(torch.bfloat16)
    model.lm_head.register_forward_pre_hook(_as_float)
    return model.to(device).requires_grad_(False), tokenizer


def _as_float(_head: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    # The last states of several prompts are no contiguous tensor; on a CPU, torch would copy the head for each of them.
    return (given[0].float().contiguous(),)


def log_probabilities(decoder: nn.Module, head: nn.Module, pairs: Sequence[Pair], sides: Sequence[str]) -> list[Tensor]:
    """Of each response token, float32 ``[pairs, longest]`` for each side; 0 behind a response.

    A prompt is computed once for both sides. The head is in float32: a log-ratio is the small difference of two large
    numbers.
    """
    responses = [(pair.prompt_ids, pair.ids[side]) for side in sides for pair in pairs]
    trees = one_batch([prompt + own for prompt, own in responses])
    device = next(decoder.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        states = tree_states(decoder, trees)
    predicting = [range(len(prompt) - 1, len(prompt) + len(own) - 1) for prompt, own in responses]
    places = read_places(trees, predicting)
    read = torch.from_numpy(np.concatenate([places[i] for i in range(len(responses))])).to(device)
    target = torch.tensor([token for _, own in responses for token in own], device=device)
    logits = head(states[read])
    logps = logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(dim=1)
    own = torch.split(logps, [len(ids) for _, ids in responses])
    padded = nn.utils.rnn.pad_sequence(list(own), batch_first=True)
    longest = [max(len(pair.ids[side]) for pair in pairs) for side in sides]
    return [part[:, :n] for part, n in zip(torch.split(padded, len(pairs)), longest, strict=True)]
