"""Tiny checkpoints of families with a head on every token, and how their authors read them.

A checkpoint has the family's ``architectures``, tensor names, special tokens and chat template. The readings follow
the authors' code, one sequence at a time, and use nothing of this package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TEXTS = [
    "How much is 2 + 2? Two and two are four. Question: Answer: Let's think step by step.",
    "1. First, add the numbers.\n2. Then divide by two.\n\nSo the answer is \\boxed{4}.",
    "Please reason step by step, and put your final answer within \\boxed{}. system user assistant",
]
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
QWEN_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>system\n" + SYSTEM.replace("\\", "\\\\") + "<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role != 'system' or not loop.first %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        preset: name of the preset.
        save: writes a checkpoint.
        head: name of the head's last weight.
        split: what stands between steps in a response.
        put: tokenizer, question and steps → token ids and the position of each step's reward.
        reward: logits ``[labels]`` at such a position → reward.
    """

    preset: str
    save: Callable[[Path], Path]
    head: str
    split: str
    put: Callable[[Any, str, Sequence[str]], tuple[list[int], list[int]]]
    reward: Callable[[Tensor], Tensor]


def logits(directory: Path, ids: Sequence[int], **inputs: Tensor) -> Tensor:
    """Logits ``[time, labels]`` of one sequence, from the file's tensors."""
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel

    tensors = load_file(directory / "model.safetensors")
    model = AutoModel.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32).eval()
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    with torch.inference_mode():
        x = model(input_ids=torch.tensor([ids]), **inputs).last_hidden_state[0]
    if "score.2.weight" in tensors:
        x = torch.relu(x @ tensors["score.0.weight"].T + tensors["score.0.bias"])
        return x @ tensors["score.2.weight"].T + tensors["score.2.bias"]
    weight = next(name for name in tensors if name.endswith("weight") and name.startswith(("score", "v_head")))
    return x @ tensors[weight].T + tensors.get(weight.replace("weight", "bias"), torch.zeros(1))


# --- how they are read -----------------------------------------------------------------------------------


def put_qwen(tokenizer: Any, question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
    """Card of Qwen2.5-Math-PRM-7B."""
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": question},
        {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
    ]
    ids = tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)
    return ids, [t for t, i in enumerate(ids) if i == tokenizer.convert_tokens_to_ids("<extra_0>")]


def put_trl(tokenizer: Any, question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
    """PRMTrainer.tokenize_row of TRL."""
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids += tokenizer(question, add_special_tokens=False)["input_ids"]
    read = []
    for step in steps:
        ids += tokenizer(step, add_special_tokens=False)["input_ids"]
        ids += tokenizer.encode("\n", add_special_tokens=False)
        read.append(len(ids) - 1)
    return ids, read


def put_pure(tokenizer: Any, question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
    """Card of PURE-PRM-7B."""
    ids, read = list(tokenizer(question, add_special_tokens=False)["input_ids"]), []
    for step in steps:
        ids += tokenizer(step, add_special_tokens=False)["input_ids"]
        ids += tokenizer("\n", add_special_tokens=False)["input_ids"]
        read.append(len(ids) - 1)
    return ids, read


def put_skywork(tokenizer: Any, question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
    """prepare_input of skywork-o1-prm-inference; a response is split at line breaks, and empty steps stay."""
    ids = tokenizer.encode(tokenizer.bos_token + question + "\n")
    end, read = tokenizer.encode("\n")[-1], []
    for step in steps:
        ids += [*(tokenizer.encode(step) if step else []), end]
        read.append(len(ids) - 1)
    return ids, read


def put_reasoneval(tokenizer: Any, question: str, steps: Sequence[str], *, small: bool) -> tuple[list[int], list[int]]:
    """codes/examples.py of ReasonEval, with its counting of separators for either size."""
    separator = tokenizer.pad_token
    text = f"Question:\n{question}\nAnswer:\nLet's think step by step.\n" + separator
    ids = tokenizer(text + "".join(step + separator for step in steps))["input_ids"]
    mark, kept, labelled = tokenizer.convert_tokens_to_ids(separator), [], []
    for place, i in enumerate(ids):
        if i == mark:
            labelled.append(place - 1 - len(labelled))
        else:
            kept.append(i)
    return ([1, *kept], labelled[2:]) if small else (kept, labelled[1:])


# --- checkpoints -----------------------------------------------------------------------------------------


def qwen_tokenizer(bos: str | None = None, eos: str = "<|endoftext|>", extra: Sequence[str] = ()) -> Any:
    """A Qwen2 tokenizer with a small vocabulary; padding is ``<|endoftext|>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    )
    learnt = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        bos_token=bos,
        eos_token=eos,
        extra_special_tokens=["<|im_start|>", "<|im_end|>", *extra],
    )
    tokenizer.chat_template = QWEN_TEMPLATE
    return tokenizer


def llama_tokenizer(pad: str) -> Any:
    """A tokenizer like Llama 2's: a space in front of every text, bytes for what is unknown, BOS (id 1) put first."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *learnt["vocab"]]
    merges = [tuple(merge) for merge in learnt["merges"]]
    model = models.BPE(
        {name: i for i, name in enumerate(names)},
        merges,
        unk_token="<unk>",  # noqa: S106
        byte_fallback=True,
        fuse_unk=True,
    )
    backend = Tokenizer(model)
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
        pad_token=pad,
        clean_up_tokenization_spaces=False,
    )


def save(
    directory: Path,
    model_type: str,
    architecture: str,
    tokenizer: Any,
    head: Mapping[str, tuple[int, ...]],
    **more: Any,
) -> Path:
    """A decoder (hidden 32, 2 layers) with random weights, and head tensors of the shapes given."""
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AutoModel.from_config(config, dtype=torch.float32)
        tensors = {name: torch.randn(shape) / 3 for name, shape in head.items()}
    config.architectures = [architecture]
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    config.save_pretrained(directory)
    tensors |= {f"model.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def save_qwen(directory: Path) -> Path:
    """Qwen2.5-Math-PRM: a language model's head is in the file too, and is not used."""
    tokenizer = qwen_tokenizer(eos="<|im_end|>", extra=["<extra_0>"])
    head = {"score.0.weight": (32, 32), "score.0.bias": (32,), "score.2.weight": (2, 32), "score.2.bias": (2,)}
    head["lm_head.weight"] = (len(tokenizer), 32)
    return save(directory, "qwen2", "Qwen2ForProcessRewardModel", tokenizer, head, tie_word_embeddings=False)


def save_token_classifier(directory: Path) -> Path:
    """What TRL saves of a Qwen2 model, and what PURE is: padding is EOS, and there is no BOS."""
    head = {"score.weight": (2, 32), "score.bias": (2,)}
    return save(directory, "qwen2", "Qwen2ForTokenClassification", qwen_tokenizer(), head)


def save_trl_llama(directory: Path) -> Path:
    """What TRL saves of a Llama model: with a BOS token."""
    head = {"score.weight": (2, 32), "score.bias": (2,)}
    return save(directory, "llama", "LlamaForTokenClassification", llama_tokenizer("</s>"), head)


def save_skywork(directory: Path) -> Path:
    """Skywork-o1-Open-PRM: BOS, EOS and padding are one token."""
    tokenizer = qwen_tokenizer(bos="<|endoftext|>")
    head = {"v_head.summary.weight": (1, 32), "v_head.summary.bias": (1,), "lm_head.weight": (len(tokenizer), 32)}
    return save(directory, "qwen2", "Qwen2ForPrmModel", tokenizer, head, tie_word_embeddings=False)


def save_reasoneval_7b(directory: Path) -> Path:
    """ReasonEval-7B: padding is BOS."""
    more = {"score_dimension": 3, "use_bias": True, "sliding_window": 4096}
    head = {"score_head.weight": (3, 32), "score_head.bias": (3,)}
    return save(directory, "mistral", "ReasonEval_7B", llama_tokenizer("<s>"), head, **more)


def save_reasoneval_34b(directory: Path) -> Path:
    """ReasonEval-34B: padding is EOS."""
    more = {"score_dim": 3, "bias": False}
    return save(directory, "llama", "ReasonEval_34B", llama_tokenizer("</s>"), {"score_head.weight": (3, 32)}, **more)


def _good(z: Tensor) -> Tensor:
    return z.softmax(-1)[1]


FAMILIES = {
    "qwen2.5-math-prm": Family("qwen2.5-math-prm", save_qwen, "score.2.weight", "\n\n", put_qwen, _good),
    "trl-prm": Family("trl-prm", save_token_classifier, "score.weight", "\n", put_trl, _good),
    "trl-prm, Llama": Family("trl-prm", save_trl_llama, "score.weight", "\n", put_trl, _good),
    "pure-prm": Family(
        "pure-prm",
        save_token_classifier,
        "score.weight",
        "\n\n",
        put_pure,
        lambda z: z.softmax(-1)[1] - z.softmax(-1)[0],
    ),
    "reasoneval-7b": Family(
        "reasoneval-7b",
        save_reasoneval_7b,
        "score_head.weight",
        "\n",
        lambda *asked: put_reasoneval(*asked, small=True),
        lambda z: 1 - z.softmax(-1)[0],
    ),
    "reasoneval-34b": Family(
        "reasoneval-34b",
        save_reasoneval_34b,
        "score_head.weight",
        "\n",
        lambda *asked: put_reasoneval(*asked, small=False),
        lambda z: 1 - z.softmax(-1)[0],
    ),
    "skywork-o1-prm": Family(
        "skywork-o1-prm",
        save_skywork,
        "v_head.summary.weight",
        "\n",
        put_skywork,
        lambda z: 1 / (1 + torch.exp(-z[0])),
    ),
}
