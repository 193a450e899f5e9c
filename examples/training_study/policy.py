"""The policy: a small language model, an adapter on it, log-probabilities and samples."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from asr_data.scoring.checkpoint import packaged_file, quiet_transformers
from asr_data.scoring.engine import pad
from asr_data.training.run import BUILTIN_BACKBONE

from .data import Pair


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
        base: in float32; it is copied, not changed.
        tokenizer: its tokenizer.
        rank: of the adapter on every linear layer of the decoder.
    """

    def __init__(self, base: Any, tokenizer: Any, rank: int) -> None:
        self.model = copy.deepcopy(base)
        self.tokenizer = tokenizer
        layers = [name for name, part in self.model.model.named_modules() if isinstance(part, nn.Linear)]
        with quiet_transformers():
            settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers)
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
        device = self.model.device
        if device.type == "cuda":
            self.model.to(torch.bfloat16)
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
        samples = []
        for row in made[:, longest:].tolist():
            ended = end in row
            own = row[: row.index(end)] if ended else row
            samples.append(Sample(self.tokenizer.decode(own, skip_special_tokens=True), len(own), ended))
        return samples


def load_base(device: str) -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct in float32, and its tokenizer."""
    path = packaged_file(BUILTIN_BACKBONE)
    with quiet_transformers(), redirect_stderr(io.StringIO()):  # a bar that cannot be turned off
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return model.to(device).requires_grad_(False), tokenizer


def log_probabilities(decoder: nn.Module, head: nn.Module, pairs: Sequence[Pair], sides: Sequence[str]) -> list[Tensor]:
    """Of each response token, float32 ``[pairs, longest]`` for each side; 0 behind a response.

    All sides in one pass: a small model waits for its kernels to be launched, not for their work. bfloat16 in the
    decoder, float32 in the head: a log-ratio is the small difference of two large numbers.
    """
    device = next(decoder.parameters()).device
    responses = [(pair.prompt_ids, pair.ids[side]) for side in sides for pair in pairs]
    ids, attention = (x.to(device) for x in pad([prompt + own for prompt, own in responses]))
    with torch.autocast(device.type, torch.bfloat16):
        states = decoder(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
    lengths = [len(own) for _, own in responses]
    row = torch.repeat_interleave(torch.arange(len(responses)), torch.tensor(lengths)).to(device)
    place = torch.cat([torch.arange(n) for n in lengths]).to(device)
    first = torch.tensor([len(prompt) for prompt, _ in responses], device=device)
    target = ids[row, first[row] + place]
    logits = head(states[row, first[row] + place - 1].float())
    logps = logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(dim=1)
    padded = logps.new_zeros(len(responses), max(lengths)).index_put((row, place), logps)
    longest = [max(len(pair.ids[side]) for pair in pairs) for side in sides]
    return [part[:, :n] for part, n in zip(padded.split(len(pairs)), longest, strict=True)]
