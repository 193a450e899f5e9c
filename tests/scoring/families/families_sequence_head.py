"""Tiny checkpoints of sequence reward models, and how their authors read them: one conversation, one number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}


def save(directory: Path, tokenizer: Any, architecture: str, head: Mapping[str, Tensor], **settings: Any) -> Path:
    """A random Llama or Qwen3 with the family's head, config fields and tensor names."""
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaModel, Qwen3Config, Qwen3Model

    config_class, model_class = (Qwen3Config, Qwen3Model) if "Qwen3" in architecture else (LlamaConfig, LlamaModel)
    config: Any = config_class(vocab_size=len(tokenizer.hf), **SIZES, pad_token_id=tokenizer.hf.pad_token_id)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = model_class(config)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.hf.save_pretrained(directory)
    config.save_pretrained(directory)
    path = directory / "config.json"
    text = {**json.loads(path.read_text()), "architectures": [architecture], **settings}
    path.write_text(json.dumps(text), encoding="utf-8")
    tensors = {f"model.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file({**tensors, **head}, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def plain_logit(directory: Path, ids: list[int], head: str, position: int) -> float:
    """``w · h`` at one position of one sequence, from the file's tensors."""
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel

    tensors = load_file(directory / "model.safetensors")
    model = AutoModel.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32).eval()
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0, position]
    return float(hidden @ tensors[head][0])


def classifier_logit(directory: Path, ids: list[int]) -> float:
    """What transformers' own sequence classifier says, pooled by its own rule."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32, num_labels=1).eval()
    with torch.inference_mode():
        return float(model(input_ids=torch.tensor([ids])).logits[0, 0])
