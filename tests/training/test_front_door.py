"""A trained scorer is read as it was trained, whatever form the rows have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from asr_data import load_scorer
from asr_data.config import ScoringConfig
from asr_data.scoring.locate import BUILTIN
from asr_data.scoring.model_scorer import ModelScorer
from asr_data.scoring.presets import find_preset
from asr_data.training.config import TrainingConfig
from asr_data.types import Completion, Row

ASKED, SAID = "How many are two and two?", "They are four. That is all."


class Quiet:
    def update(self, *_: object) -> None: ...
    def message(self, *_: object) -> None: ...


@pytest.mark.parametrize("rank", [0, 4])
def test_strings_are_read_as_the_turns_that_were_trained_on(
    tmp_path: Path, make_tokenizer: Callable[..., Any], rank: int
) -> None:
    from asr_data.training.run import train_scorer

    hf = make_tokenizer().hf
    base = tmp_path / "base"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        LlamaModel(LlamaConfig(vocab_size=len(hf), num_key_value_heads=2, **sizes)).save_pretrained(base)
    hf.save_pretrained(base)
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{ASKED} {i}", "chosen": f"{SAID} {i}", "rejected": f"Five. {i}"} for i in range(24)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = TrainingConfig.model_validate(
        {"sources": [str(pairs)], "base": str(base), "lora_rank": rank, "max_tokens": 600, "batch_tokens": 256}
    )
    train_scorer(config, tmp_path / "out", resume=False, progress=cast(Any, Quiet()))
    scorer = cast(ModelScorer, load_scorer(tmp_path / "out", scoring=ScoringConfig(dtype="float32")))
    (reading,) = scorer.encoder.encode(Row(0, {}, ASKED, (Completion("completion", SAID, preferred=True),)))
    turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]
    trained = hf.encode(hf.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
    assert reading.requests[0].ids == trained


def test_the_built_in_scorer_and_the_preset_say_so() -> None:
    settings = json.loads((BUILTIN / "asr_scorer.json").read_text(encoding="utf-8"))
    assert settings["prompt"]["strings"] == "turns"
    assert cast(Any, find_preset("asr-data").config).prompt.strings == "turns"
