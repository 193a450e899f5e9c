"""Tiny tokenizers and checkpoints, made in the session: nothing is downloaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

TEXTS = [
    "The answer is four. Two and two are four, and that is all there is to say.",
    "Wie spät ist es? Es ist zwölf Uhr. Das Café hat schon geöffnet.",
    "Step 1: add the numbers.\n\nStep 2: divide by two.\n\nStep 3: done.",
    "user assistant system tool",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sep>"]
TOKENIZER_KINDS = ("byte_level", "byte_level_nfc", "nfkc", "metaspace_bpe", "metaspace_unigram", "word_piece")

_TURN = "{{ '<|im_start|>' + m['role'] + '\n' + %s + '<|im_end|>\n' }}"
_OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATES = {
    "chatml": "{% for m in messages %}" + _TURN % "m['content']" + "{% endfor %}" + _OPEN,
    "trimming": "{% for m in messages %}" + _TURN % "(m['content'] | trim)" + "{% endfor %}" + _OPEN,
    # Like Llama 2: trims, and puts white space of its own around the content.
    "trimming_padded": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ' ' + (m['content'] | trim) + ' <|im_end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
    ),
    # Like Qwen3: the last assistant message gets an empty thought that the generation prompt does not have.
    "thinking": (
        "{% for m in messages %}{% if loop.last and m['role'] == 'assistant' %}"
        + _TURN % "'<think>\n\n</think>\n\n' + m['content']"
        + "{% else %}"
        + _TURN % "m['content']"
        + "{% endif %}{% endfor %}"
        + _OPEN
    ),
    # Like Llama 3: BOS in the template, header tokens, trimmed contents.
    "llama3": (
        "{% for m in messages %}{% if loop.first %}{{ '<|endoftext|>' }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '<sep>\n\n' + (m['content'] | trim) + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant<sep>\n\n' }}{% endif %}"
    ),
    # Like Gemma: the assistant is called model, contents are trimmed, a system message is part of the first turn.
    "gemma": (
        "{% set ns = namespace(lead='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
        "{% set ns.lead = m['content'] + '\n\n' %}{% else %}"
        "{{ '<|im_start|>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + ns.lead "
        "+ (m['content'] | trim) + '<|im_end|>\n' }}{% set ns.lead = '' %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
    ),
    # Like Mistral: marks around the user's turns, none before the assistant's, EOS after them.
    "mistral": (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + '<|im_end|>' }}"
        "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
    ),
    "no_system": (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system message') }}{% endif %}"
        + _TURN % "m['content']"
        + "{% endfor %}"
        + _OPEN
    ),
    "shouting": ("{% for m in messages %}" + _TURN % "m['content'] | replace('!', '!!')" + "{% endfor %}" + _OPEN),
    "upper": "{% for m in messages %}" + _TURN % "(m['content'] | upper)" + "{% endfor %}" + _OPEN,
}


def _byte_level(normalizer: Any = None) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _metaspace_bpe() -> Any:
    """As Llama 2: spaces become ▁ in the normaliser, unknown characters fall back to bytes, BOS is put first."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), *learnt["vocab"]]
    merges = [tuple(merge) for merge in learnt["merges"]]
    vocab = {name: i for i, name in enumerate(names)}
    tokenizer = Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)  # noqa: S106
    )
    tokenizer.normalizer = learner.normalizer
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def _metaspace_unigram() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    learner.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", show_progress=False),  # noqa: S106
    )
    pieces = [(piece, score) for piece, score in json.loads(learner.to_str())["model"]["vocab"]]
    vocab = [("<unk>", 0.0), *((f"<0x{b:02X}>", -20.0) for b in range(256))]
    vocab += [(piece, score) for piece, score in pieces if piece != "<unk>"]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return tokenizer


def _word_piece() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]", *SPECIAL]
    tokenizer.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _build(kind: str) -> Any:
    from tokenizers import normalizers

    if kind == "metaspace_bpe":
        return _metaspace_bpe()
    if kind == "metaspace_unigram":
        return _metaspace_unigram()
    if kind == "word_piece":
        return _word_piece()
    normalizer = {"byte_level": None, "byte_level_nfc": normalizers.NFC(), "nfkc": normalizers.NFKC()}
    return _byte_level(normalizer[kind])


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """``make_tokenizer(kind, template)``: an ``asr_data`` tokenizer; equal arguments give the same object."""
    from transformers import PreTrainedTokenizerFast

    from asr_data.text.tokenizer import Tokenizer

    made: dict[tuple[str, str], Any] = {}

    def make(kind: str = "byte_level", template: str = "chatml") -> Any:
        if (kind, template) not in made:
            hf = PreTrainedTokenizerFast(
                tokenizer_object=_build(kind),
                eos_token="<|im_end|>",  # noqa: S106
                pad_token="<|endoftext|>",  # noqa: S106
                additional_special_tokens=SPECIAL,
                clean_up_tokenization_spaces=False,
            )
            hf.chat_template = TEMPLATES[template]
            made[kind, template] = Tokenizer(hf, kind)
        return made[kind, template]

    return make


@pytest.fixture(params=TOKENIZER_KINDS)
def any_tokenizer(request: pytest.FixtureRequest, make_tokenizer: Callable[..., Any]) -> Any:
    return make_tokenizer(request.param)


@pytest.fixture(scope="session")
def make_checkpoint(make_tokenizer: Callable[..., Any]) -> Callable[..., Path]:
    """``make_checkpoint(directory, head=…, settings=…)``: a random Llama (hidden 32, 2 layers) with a head.

    ``head`` holds tensors as they stand in the file; ``settings`` is ``asr_scorer.json`` (None: no such file);
    ``longest`` is how many tokens it takes.
    """

    def make(
        directory: Path,
        head: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        kind: str = "byte_level",
        template: str = "chatml",
        without: str | None = None,
        longest: int = 256,
    ) -> Path:
        import torch
        from safetensors.torch import save_file
        from transformers import LlamaConfig, LlamaModel

        directory.mkdir(parents=True, exist_ok=True)
        tokenizer = make_tokenizer(kind, template)
        tokenizer.hf.save_pretrained(directory)
        config = LlamaConfig(
            vocab_size=len(tokenizer.hf),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=longest,
            initializer_range=0.3,
        )
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = LlamaModel(config)
        config.architectures = ["LlamaForTokenClassification"]
        config.save_pretrained(directory)
        tensors = {f"model.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
        if without is not None:
            del tensors[without]
        save_file({**tensors, **(head or {})}, directory / "model.safetensors", metadata={"format": "pt"})
        if settings is not None:
            (directory / "asr_scorer.json").write_text(json.dumps(settings), encoding="utf-8")
        return directory

    return make
