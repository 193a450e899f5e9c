"""Tiny checkpoints of families that are read as language models, and how their authors read them.

A checkpoint has the family's architecture, tensor names, special tokens and token ids: the vocabularies are filled up
to their real size, so that the presets are tried as they are. The readings follow the model cards and the authors'
code, one sequence at a time, and use nothing of this package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TEXTS = ["How much is 2 + 2? Two and two are four. Step 1: First, add. Step 2: Then divide by two. The answer is: 4"]
LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_TEMPLATE = (
    "{{- bos_token }}{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}"
    "{{- 'Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>' }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)


# --- how label tokens are read ---------------------------------------------------------------------------


def read_math_shepherd(model: Any, tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
    """Model card of math-shepherd-mistral-7b-prm."""
    ids = tokenizer.encode(f"{question} " + "\n".join(f"{step} ки" for step in steps))
    scores = logits(model, ids)[:, [648, 387]].softmax(dim=-1)[:, 0]
    return scores[torch.tensor(ids) == 12902].tolist()


def read_versaprm(model: Any, tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
    """Model card of VersaPRM."""
    ids = tokenizer.encode(question + " \n\n" + " \n\n\n\n".join(steps) + " \n\n\n\n")
    scores = logits(model, ids)[:, [12, 10]].softmax(dim=-1)[:, 1]
    return scores[torch.tensor(ids) == 23535].tolist()


def read_rlhflow(model: Any, tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
    """math-rm/prm_evaluate.py of RLHF-Reward-Modeling: one conversation per step, read three tokens before its end."""
    conversation: list[dict[str, str]] = []
    scores = []
    for k, step in enumerate(steps):
        conversation.append({"role": "user", "content": f"{question} {step}" if k == 0 else step})
        conversation.append({"role": "assistant", "content": "+"})
        text = tokenizer.apply_chat_template(conversation, tokenize=False)
        ids = tokenizer.encode(text, add_special_tokens=False)
        scores.append(float(logits(model, ids)[-3, [10, 12]].softmax(dim=-1)[0]))
    return scores


def logits(model: Any, ids: Sequence[int]) -> Tensor:
    """``[time, vocabulary]`` of one sequence."""
    with torch.inference_mode():
        out: Tensor = model(torch.tensor([ids])).logits[0]
    return out


def log_ratios(policy: Any, reference: Any, ids: Sequence[int]) -> Tensor:
    """``log π − log π_ref`` float64 ``[time - 1]`` of every token but the first."""
    taken = torch.tensor(ids[1:])[:, None]
    own, base = (
        logits(model, ids)[:-1].double().log_softmax(-1).gather(-1, taken)[:, 0] for model in (policy, reference)
    )
    return own - base


# --- checkpoints -----------------------------------------------------------------------------------------


def save_mistral(directory: Path) -> Path:
    """Math-Shepherd: Mistral's vocabulary, padding is EOS."""
    return save(directory, "mistral", mistral_tokenizer(), 32000, sliding_window=4096)


def save_llama(directory: Path) -> Path:
    """RLHFlow PRM and VersaPRM: Llama 3.1's vocabulary, padding is EOS."""
    scaling = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 128}
    return save(directory, "llama", llama_tokenizer(), 128256, rope_parameters=scaling)


def save(directory: Path, model_type: str, tokenizer: Any, vocabulary: int, *, seed: int = 0, **more: Any) -> Path:
    """A causal language model (hidden 16, 2 layers) with random weights, as transformers saves it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 256}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    config = AutoConfig.for_model(
        model_type,
        vocab_size=vocabulary,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**sizes, **heads, "tie_word_embeddings": False, **more},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    directory.mkdir(parents=True, exist_ok=True)
    write(directory, model.state_dict(), config, type(model).__name__)
    tokenizer.save_pretrained(directory)
    return directory


def write(directory: Path, tensors: Mapping[str, Tensor], config: Any, architecture: str) -> None:
    """The checkpoint's files, without the progress bars of ``save_pretrained``."""
    from safetensors.torch import save_file

    config.architectures = [architecture]
    config.save_pretrained(directory)
    kept = {name: t.clone().contiguous() for name, t in tensors.items()}
    if config.tie_word_embeddings:
        kept.pop("lm_head.weight")
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})


def load(directory: Path) -> Any:
    """The checkpoint as transformers loads it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def mistral_tokenizer() -> Any:
    """Mistral 7B's: a space in front, bytes for what is unknown, BOS put first; ``ки``, ``+`` and ``-`` in place."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=120, initial_alphabet=["к", "и", "-"], show_progress=False)
    learner.train_from_iterator(TEXTS, trainer)
    learnt = json.loads(learner.to_str())["model"]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    merges = [("к", "и"), ("▁", "ки"), ("▁", "+"), ("▁", "-"), *(tuple(merge) for merge in learnt["merges"])]
    placed = {"▁+": 648, "▁-": 387, "ки": 1107, "▁ки": 12902}
    vocab = fill(["<unk>", "<s>", "</s>", *bytes_, *learnt["vocab"]], placed, 32000)
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))  # noqa: S106
    backend.normalizer = learner.normalizer
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        pad_token="</s>",  # noqa: S106
        clean_up_tokenization_spaces=False,
    )


def llama_tokenizer() -> Any:
    """Llama 3.1's: bytes in their real places, ``" \\n\\n\\n\\n"`` too, special tokens from 128000 on."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=80, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    lines = [("Ċ", "Ċ"), ("ĊĊ", "ĊĊ"), ("Ġ", "ĊĊĊĊ"), ("Ġ", "ĊĊ"), (".", "ĊĊ")]
    placed = {"ĊĊ": 271, "ĠĊĊĊĊ": 23535}
    merged = ["".join(pair) for pair in lines if "".join(pair) not in placed]
    vocab = fill([*byte_characters(), *merged, *learnt["vocab"]], placed, 128000)
    backend = Tokenizer(models.BPE(vocab, [*lines, *(tuple(merge) for merge in learnt["merges"])]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    named = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id", 9: "eot_id"}
    backend.add_special_tokens([f"<|{named.get(i, f'reserved_special_token_{i}')}|>" for i in range(256)])
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B", special_tokens=[("<|begin_of_text|>", 128000)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin_of_text|>",  # noqa: S106
        eos_token="<|eot_id|>",  # noqa: S106
        pad_token="<|eot_id|>",  # noqa: S106
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = LLAMA_TEMPLATE
    return tokenizer


def byte_characters() -> list[str]:
    """The stand-ins of the 256 bytes in the order of GPT-2, which Llama 3 and Qwen number them by."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def fill(names: Sequence[str], placed: Mapping[str, int], size: int) -> dict[str, int]:
    """Names in order from 0, those of ``placed`` at their ids, and fillers up to ``size``."""
    rest = iter([*dict.fromkeys(name for name in names if name not in placed), *(f"<filler {i}>" for i in range(size))])
    at = {i: name for name, i in placed.items()}
    return {at[i] if i in at else next(rest): i for i in range(size)}
