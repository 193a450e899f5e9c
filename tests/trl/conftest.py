"""A tiny policy and annotated rows: real ids of real texts, masks by chance."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs trl: pip install 'asr-data[train]'")

PAIRS = [
    ("What is 2 + 2?", "It is four. I am sure.", "It is five. I am not sure at all."),
    ("Name a colour.", "Blue. The sky has it.", "Seven."),
    ("Wie spät ist es?", "Es ist zwölf Uhr. Das Café hat schon geöffnet.", "No."),
    ("Add and divide.", "Step 1: add the numbers.", "Step 3: done. The answer is four."),
    ("Is it open?", "The Café is open.", "That is all there is to say."),
]


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[..., Any]) -> Path:
    """A directory with a random Llama in float32 and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("policy")
    tokenizer = make_tokenizer("byte_level").hf
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(make_tokenizer: Callable[..., Any]) -> Any:
    return make_tokenizer("byte_level").hf


def messages(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def random_mask(length: int, seed: int) -> list[bool]:
    import torch

    return (torch.rand(length, generator=torch.Generator().manual_seed(seed)) < 0.5).tolist()


@pytest.fixture(scope="session")
def pair_rows(make_tokenizer: Callable[..., Any]) -> list[dict[str, Any]]:
    """Conversational pairs; the second row keeps nothing of its rejected side, the third keeps all of both."""
    from asr_data.text import align
    from asr_data.types import Completion, Row

    rows = []
    for index, (prompt, *responses) in enumerate(PAIRS):
        sides = ("chosen", "rejected")
        completions = tuple(
            Completion(side, messages("assistant", text), side == "chosen")
            for side, text in zip(sides, responses, strict=True)
        )
        aligned = align(Row(index, {}, messages("user", prompt), completions), make_tokenizer("byte_level"))
        row: dict[str, Any] = {"prompt": messages("user", prompt), "prompt_ids": aligned.prompt_ids}
        for number, (completion, response) in enumerate(zip(completions, aligned.responses, strict=True)):
            row[completion.side] = completion.content
            row[f"{completion.side}_ids"] = response.ids
            mask = random_mask(len(response.ids), 2 * index + number)
            if index == 1 and number == 1:
                mask = [False] * len(mask)
            row[f"{completion.side}_mask"] = [True] * len(mask) if index == 2 else mask
        rows.append(row)
    return rows


@pytest.fixture
def pairs(pair_rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(pair_rows)


@pytest.fixture
def common(tmp_path: Path) -> dict[str, Any]:
    """Settings of every trainer here."""
    from transformers import TrainingArguments

    renamed = hasattr(TrainingArguments, "activation_checkpointing")  # by transformers 5.23
    return {
        "output_dir": str(tmp_path / "out"),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        "per_device_train_batch_size": 5,
        "per_device_eval_batch_size": 5,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "activation_checkpointing" if renamed else "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
    }


def token_logps(model: Any, ids: list[int]) -> Any:
    """Each token's own log-probability, ``[tokens]``, 0 for the first: one plain pass without padding."""
    import torch

    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return torch.cat([logits.new_zeros(1), logits.gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]])


def plain(model: Any) -> Any:
    """A copy without TRL's fused head."""
    other = copy.deepcopy(model)
    other.forward = type(other).forward.__get__(other)
    return other


def masked_logp(model: Any, row: dict[str, Any], side: str, *, everything: bool = False) -> Any:
    """Σ m log π of one side of a row."""
    prompt, ids = row["prompt_ids"], row[f"{side}_ids"]
    logps = token_logps(model, prompt + ids)[len(prompt) :]
    if everything:
        return logps.sum()
    return sum((logp for logp, keep in zip(logps, row[f"{side}_mask"], strict=True) if keep), logps.new_zeros(()))


def assert_same_gradients(model: Any, other: Any) -> None:
    """Equal to 1e-6 of the largest gradient, which float32 carries through the layers."""
    import torch

    wanted = {name: parameter.grad for name, parameter in other.named_parameters()}
    largest = max(float(grad.abs().max()) for grad in wanted.values())
    assert largest > 0
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, wanted[name], atol=1e-6 * max(1.0, largest), rtol=0, msg=lambda text, name=name: name + text
        )


def hidden_gradient(trainer: Any, batch: dict[str, Any]) -> Any:
    """|∂loss/∂h| of the states that the head reads, ``[sequences, time]``, moved to the token that is predicted."""
    states: list[Any] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        if output.last_hidden_state.requires_grad:
            output.last_hidden_state.retain_grad()
            states.append(output.last_hidden_state)

    handle = trainer.model.base_model.register_forward_hook(keep)
    trainer.compute_loss(trainer.model, batch).backward()
    handle.remove()
    return states[0].grad.abs().sum(-1).roll(1, dims=1)


def assert_gradient_where_kept(gradient: Any, row: dict[str, Any], side: str) -> None:
    """Exactly zero in the prompt, at masked tokens and behind the response; not zero at the kept ones."""
    import torch

    first, mask = len(row["prompt_ids"]), torch.tensor(row[f"{side}_mask"])
    assert torch.equal(gradient[first : first + len(mask)] > 0, mask)
    assert not gradient[:first].any()
    assert not gradient[first + len(mask) :].any()
