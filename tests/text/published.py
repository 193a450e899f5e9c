"""Chat templates as they are published, their prose put in other words, on tokenizers with their special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from asr_data.text.tokenizer import Tokenizer

FOLDER: Final = Path(__file__).parent / "templates"
SPECIALS: Final[dict[str, tuple[str, str | None, list[str]]]] = {
    "qwen3": ("<|im_end|>", None, ["<|im_start|>", "<|im_end|>"]),
    "llama31": (
        "<|eot_id|>",
        "<|begin_of_text|>",
        [
            *("<|begin_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
            *("<|start_header_id|>", "<|end_header_id|>"),
        ],
    ),
    "mistral": (
        "</s>",
        "<s>",
        ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"],
    ),
    "gemma": ("<eos>", "<bos>", ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]),
    "deepseek_r1": (
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>",
        [
            "<｜begin▁of▁sentence｜>",
            "<｜end▁of▁sentence｜>",
            "<｜User｜>",
            "<｜Assistant｜>",
            *(f"<｜tool▁{part}｜>" for part in ("calls▁begin", "call▁begin", "sep", "call▁end", "calls▁end")),
            *(f"<｜tool▁{part}｜>" for part in ("outputs▁begin", "output▁begin", "output▁end", "outputs▁end")),
        ],
    ),
    "harmony": (
        "<|return|>",
        None,
        ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>", "<|return|>"],
    ),
}
"""Name → end of sequence, beginning of sequence, special tokens."""
ADDED: Final = {"qwen3": ["<think>", "</think>", "<tool_call>", "</tool_call>"], "deepseek_r1": ["<think>", "</think>"]}
"""Tokens of their own that are not special."""


def published(name: str) -> Tokenizer:
    """A tokenizer of single bytes with a template's own tokens."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    end, begin, specials = SPECIALS[name]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment] # a property
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment] # a property
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in ADDED.get(name, [])])
    named: dict[str, Any] = {"eos_token": end, "pad_token": end} | ({"bos_token": begin} if begin else {})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    tokenizer.chat_template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    return Tokenizer(tokenizer, name)
