"""The README does what it says: its commands and snippets run, in order, on a tiny reward model and policy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from typer.testing import CliRunner

from asr_data_cli.app import build_app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAIRS = [
    ("What is 2 + 2?", "It is four. I am sure.", "It is five. I am sure."),
    ("Name a colour.", "Blue. The sky has it.", "Seven. The sky has it."),
    ("Où est Paris ?", "En France. 🇫🇷", "En Italie. 🇮🇹"),
]


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def save_policy(folder: Path, tokenizer: Any) -> None:
    """A tiny language model for ``--tokenizer`` and for training."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer.hf),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)


def save_pairs(path: Path) -> None:
    def messages(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    lines = [
        json.dumps(
            {
                "prompt": messages("user", prompt),
                "chosen": messages("assistant", chosen),
                "rejected": messages("assistant", rejected),
            }
        )
        for prompt, chosen, rejected in PAIRS
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def workplace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_checkpoint: Callable[..., Path],
    make_tokenizer: Callable[..., Any],
) -> Path:
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    head = {"score.weight": torch.linspace(-1, 1, 32)[None], "score.bias": torch.zeros(1)}
    # Two tokenizers: rewards of one model's tokens become masks over the other's.
    make_checkpoint(tmp_path / "my-prm", head, {"kind": "token_head"}, kind="metaspace_bpe")
    save_policy(tmp_path / "my-policy", make_tokenizer("byte_level"))
    save_pairs(tmp_path / "prefs.jsonl")
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # of trainers and models; none of them is ours
def test_own_data_own_model_own_trainer(workplace: Path) -> None:
    (command,) = (snippet for snippet in snippets("sh") if snippet.startswith("asr-annotate run"))
    program, *arguments = command.split()
    assert program == "asr-annotate"
    done = CliRunner().invoke(build_app(), arguments)
    assert done.exit_code == 0, done.output

    names: dict[str, Any] = {}
    training, loss = snippets("python")
    exec(training, names)  # noqa: S102 - the text of our own page
    exec(loss, names)  # noqa: S102

    assert len(names["rows"]) == len(PAIRS)
    for row, labelled in zip(names["rows"], names["train"], strict=True):
        prompt = len(row["prompt_ids"])
        assert labelled["labels"][:prompt] == [-100] * prompt
        trained = [label != -100 for label in labelled["labels"][prompt:]]
        assert trained == row["chosen_mask"]
        assert len(labelled["input_ids"]) == len(labelled["labels"])
    assert list((workplace / "tuned").glob("checkpoint-*"))
    # The policy equals the reference, so the margin is 0 and the loss -log(1/2).
    assert names["loss"].item() == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [t for t in targets if t.partition("#")[0] and not (page.parent / t.partition("#")[0]).exists()]
    assert missing == []
