"""Random bfloat16 checkpoints in the shapes of Qwen2.5, as process reward model, language model, adapter and base.

One set of shards of up to 1.9 GB holds the decoder, a reward head and an output embedding; the indexes of three
directories say which of them are theirs. Nothing larger than a shard is in memory while it is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

SHAPES: Final[dict[str, dict[str, int]]] = {
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "heads": 14, "kv": 2},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "heads": 12, "kv": 2},
    "3b": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "heads": 16, "kv": 2},
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "heads": 28, "kv": 4},
}
VOCABULARY: Final = 152_064
_SHARD_BYTES: Final = 1_900_000_000
_RANK: Final = 16


def make(directory: Path, shape: str) -> None:
    """Write ``prm/``, ``lm/``, ``base/`` and ``adapter/`` into a directory; what is there already stays."""
    if (directory / "adapter" / "adapter_model.safetensors").is_file():
        return
    weights = directory / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    place = _write_shards(weights, SHAPES[shape])
    for name, wanted in (("prm", ("model.", "score.")), ("lm", ("model.", "lm_head.")), ("base", ("model.",))):
        _directory(directory / name, weights, {key: file for key, file in place.items() if key.startswith(wanted)})
        _config(directory / name, SHAPES[shape])
    _adapter(directory / "adapter", directory / "prm", SHAPES[shape])


def _config(directory: Path, sizes: dict[str, int]) -> None:
    from transformers import Qwen2Config

    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        num_hidden_layers=sizes["num_hidden_layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv"],
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    config.save_pretrained(directory)


def _directory(directory: Path, weights: Path, place: dict[str, str]) -> None:
    """Links to the shards, an index that names some of their tensors, and a tokenizer with ``<extra_0>``."""
    from asr_data.text import load_tokenizer

    directory.mkdir(exist_ok=True)
    for file in sorted(set(place.values())):
        (directory / file).symlink_to((weights / file).resolve())
    index = {"metadata": {}, "weight_map": place}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    tokenizer = load_tokenizer("builtin").hf
    tokenizer.add_special_tokens({"additional_special_tokens": ["<extra_0>"]})
    tokenizer.save_pretrained(directory)


def _write_shards(directory: Path, sizes: dict[str, int]) -> dict[str, str]:
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    size = 0
    for key, shape in _tensors(sizes):
        nbytes = 2 * int(torch.Size(shape).numel())
        # Heads begin a shard of their own: all that is in a file belongs to a checkpoint.
        if shards[-1] and (size + nbytes > _SHARD_BYTES or key in ("score.0.weight", "lm_head.weight")):
            shards.append([])
            size = 0
        shards[-1].append((key, shape))
        size += nbytes
    noise = torch.randn(2**24 + 1, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16) * 0.02
    place: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        if not (directory / name).is_file():
            save_file(
                {key: _filled(key, shape, noise) for key, shape in shard}, directory / name, metadata={"format": "pt"}
            )
        place |= {key: name for key, _ in shard}
    return place


def _filled(key: str, shape: tuple[int, ...], noise: Tensor) -> Tensor:
    """Norms are ones, the rest is noise of standard deviation 0.02; a block of odd length, so that rows differ."""
    if "norm" in key:
        return torch.ones(shape, dtype=torch.bfloat16)
    count = int(torch.Size(shape).numel())
    return noise.repeat(count // len(noise) + 1)[:count].view(shape)


def _tensors(sizes: dict[str, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    keys = hidden // sizes["heads"] * sizes["kv"]
    yield "model.embed_tokens.weight", (VOCABULARY, hidden)
    for layer in range(sizes["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        for part, width in (("q", hidden), ("k", keys), ("v", keys)):
            yield f"{name}self_attn.{part}_proj.weight", (width, hidden)
            yield f"{name}self_attn.{part}_proj.bias", (width,)
        yield f"{name}self_attn.o_proj.weight", (hidden, hidden)
        yield f"{name}mlp.gate_proj.weight", (inner, hidden)
        yield f"{name}mlp.up_proj.weight", (inner, hidden)
        yield f"{name}mlp.down_proj.weight", (hidden, inner)
        yield f"{name}input_layernorm.weight", (hidden,)
        yield f"{name}post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "score.0.weight", (hidden, hidden)
    yield "score.0.bias", (hidden,)
    yield "score.2.weight", (2, hidden)
    yield "score.2.bias", (2,)
    yield "lm_head.weight", (VOCABULARY, hidden)


def _adapter(directory: Path, prm: Path, sizes: dict[str, int]) -> None:
    """LoRA factors for every matrix of the layers, and the settings of a scorer that they belong to."""
    from asr_data.scoring.presets import find_preset

    directory.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    factors: dict[str, Tensor] = {}
    for key, shape in _tensors(sizes):
        if ".layers." in key and key.endswith("_proj.weight"):
            name = "base_model.model." + key.removeprefix("model.").removesuffix("weight")
            factors[f"{name}lora_A.weight"] = torch.randn(_RANK, shape[1], generator=generator).bfloat16() * 0.02
            factors[f"{name}lora_B.weight"] = torch.randn(shape[0], _RANK, generator=generator).bfloat16() * 0.02
    save_file(factors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = {"peft_type": "LORA", "r": _RANK, "lora_alpha": 2 * _RANK, "target_modules": targets}
    (directory / "adapter_config.json").write_text(json.dumps(lora), encoding="utf-8")
    settings: dict[str, Any] = find_preset("qwen2.5-math-prm").config.model_dump(mode="json", exclude_none=True)
    settings |= {"backbone": str(prm.resolve()), "adapter": "."}
    (directory / "asr_scorer.json").write_text(json.dumps(settings), encoding="utf-8")
