"""An annotated directory with masks of every shape, a tiny policy, and our losses computed from the columns alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig, OutputConfig
from asr_data.pipeline import run
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from asr_data.storage import AnnotatedDirectory, open_output

PAIRS = [
    {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }
    for prompt, chosen, rejected in [
        ("What is two and two?", "The answer is four. Wrong is five. That is all.", "It is five, wrong. Sorry."),
        ("Wie spät ist es?", "Es ist zwölf Uhr. Wrong 🙂 is one. Es ist spät.", "日本語. That is wrong. So it is."),
        ("Add the numbers.", "Step 1: add. Step 2 is wrong. Step 3: done.", "There is no answer. Wrong. It is so."),
        ("Short?", "Yes.", "Wrong, wrong. No."),
    ]
]


def rule(prompt: Any, response: str) -> list[tuple[int, int, float]]:
    """+1 for a sentence, −1 where it says wrong; ends are where the full stops are."""
    spans, start = [], 0
    while start < len(response):
        end = response.find(".", start) + 1 or len(response)
        spans.append((start, end, -1.0 if "rong" in response[start:end] else 1.0))
        start = end
    return spans


@dataclass
class Workshop:
    """Makes annotated directories."""

    folder: Path
    tokenizer: Any

    def annotate(self, rows: Sequence[Any], name: str = "annotated", **writing: Any) -> AnnotatedDirectory:
        """``mask``: settings of the masks; the others are of the output."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return self.annotate_file(path, **writing)

    def annotate_file(self, path: Path, **writing: Any) -> AnnotatedDirectory:
        name = path.stem
        source = open_source(path)
        layout = detect(source.schema, first_records(source))
        scorer = RuleScorer(rule, ScorerInfo("rule", "rule", "value", hashlib.sha256(b"rule").hexdigest()))
        mask = writing.pop("mask", MaskConfig())
        run(source, layout, self.folder / name, scorer, self.tokenizer, mask=mask, writing=OutputConfig(**writing))
        return open_output(self.folder / name)


@pytest.fixture(scope="session")
def policy_directory(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[..., Any]) -> Path:
    """A tiny policy with its tokenizer, as trainers load it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer().hf
    path = tmp_path_factory.mktemp("policy")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def workshop(
    tmp_path: Path, make_tokenizer: Callable[..., Any], policy_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Workshop:
    from asr_data.text import Tokenizer

    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return Workshop(tmp_path, Tokenizer(make_tokenizer().hf, str(policy_directory)))


@pytest.fixture
def annotated(workshop: Workshop) -> AnnotatedDirectory:
    return workshop.annotate(PAIRS)


@pytest.fixture
def model(policy_directory: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(policy_directory, dtype="float32").eval()


@pytest.fixture
def reference(model: Any) -> Any:
    """Another policy of the same shape."""
    import copy

    import torch

    other = copy.deepcopy(model)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(5)
        for parameter in other.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return other


def columns(annotated: AnnotatedDirectory) -> list[dict[str, Any]]:
    """The annotated rows as they stand in the files."""
    return [row for path in sorted((annotated.path / "data").iterdir()) for row in pq.read_table(path).to_pylist()]


def log_probabilities(model: Any, prompt: Sequence[int], ids: Sequence[int]) -> Any:
    """float ``[tokens]``: log-probability of each response token, one sequence by itself."""
    import torch

    sequence = torch.tensor([[*prompt, *ids]])
    logits = model(input_ids=sequence).logits[0].log_softmax(-1)
    return logits[len(prompt) - 1 : -1].gather(1, sequence[0, len(prompt) :, None])[:, 0]


def padded(values: Sequence[Any]) -> Any:
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence(list(values), batch_first=True)


def our_inputs(model: Any, rows: Sequence[dict[str, Any]], side: str, part: str = "mask") -> tuple[Any, Any]:
    """Log-probabilities and masks (or weights) ``[batch, time]`` of one side, from the columns of the contract."""
    import torch

    logps = [log_probabilities(model, row["prompt_ids"], row[f"{side}_ids"]) for row in rows]
    return padded(logps), padded([torch.tensor(row[f"{side}_{part}"]) for row in rows])
