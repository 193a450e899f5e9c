"""Reward models that were saved as adapters, against PEFT's own classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from asr_data.config import ScoringConfig
from asr_data.errors import ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.scoring.quiet import quiet_transformers
from asr_data.types import Completion, Row

MakeCheckpoint = Callable[..., Path]
PLAIN = ScoringConfig(dtype="float32")
PROMPT = [{"role": "user", "content": "Two and two?"}]
ANSWER = [{"role": "assistant", "content": "The answer is four."}]


def save_adapter(base: Path, directory: Path, task: str, labels: int) -> Any:
    """Train nothing, but save what PEFT would: LoRA on the decoder, and the new head in the adapter's own file."""
    auto: Any = {"SEQ_CLS": AutoModelForSequenceClassification, "TOKEN_CLS": AutoModelForTokenClassification}[task]

    def load() -> Any:
        return auto.from_pretrained(base, num_labels=labels, pad_token_id=0)

    settings = LoraConfig(
        task_type=TaskType[task], r=4, target_modules=["q_proj", "down_proj"], modules_to_save=["score"]
    )
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(5)
        wrapped = get_peft_model(load(), settings)
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        wrapped.save_pretrained(str(directory))
        return PeftModel.from_pretrained(load(), str(directory)).eval()


@pytest.fixture
def base(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> Path:
    return make_checkpoint(tmp_path / "base")


def ids_of(base: Path) -> torch.Tensor:
    from asr_data.text import load_tokenizer

    text = load_tokenizer(base).hf.apply_chat_template([*PROMPT, *ANSWER], tokenize=False)
    return torch.tensor([load_tokenizer(base).hf.encode(text, add_special_tokens=False)])


@torch.inference_mode()
def test_a_sequence_classifier_is_recognised_and_read(tmp_path: Path, base: Path) -> None:
    theirs = save_adapter(base, tmp_path / "adapter", "SEQ_CLS", 1)
    scorer = load_scorer(tmp_path / "adapter", scoring=PLAIN)
    assert scorer.info.kind == "seq_head"
    assert "sequence classifiers of one label" in scorer.info.settings["recognised"]
    (answer,) = scorer.score([Row(0, {}, PROMPT, (Completion("completion", ANSWER, preferred=True),))])
    assert isinstance(answer, tuple)
    ids = ids_of(base)
    expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0]
    assert answer[0].reward == pytest.approx(float(expected), abs=1e-5)


@torch.inference_mode()
def test_a_token_classifier_with_settings(tmp_path: Path, base: Path) -> None:
    theirs = save_adapter(base, tmp_path / "adapter", "TOKEN_CLS", 2)
    head = {"prefix": "score.", "labels": 2}
    settings = {"kind": "token_head", "head": head, "transform": "softmax_idx", "indices": [1]}
    (tmp_path / "adapter" / "asr_scorer.json").write_text(json.dumps(settings), encoding="utf-8")
    scorer = load_scorer(tmp_path / "adapter", scoring=PLAIN)
    (answer,) = scorer.score([Row(0, {}, PROMPT, (Completion("completion", ANSWER, preferred=True),))])
    assert isinstance(answer, tuple)
    logits = theirs(input_ids=ids_of(base)).logits[0]
    expected = logits.softmax(-1)[:, 1].numpy()
    ours = answer[0].span_reward
    first = int(np.argmin(np.abs(expected - ours[0])))
    np.testing.assert_allclose(ours, expected[first : first + len(ours)], atol=1e-5)


def test_a_head_of_another_size_is_named(tmp_path: Path, base: Path) -> None:
    save_adapter(base, tmp_path / "adapter", "SEQ_CLS", 3)
    with pytest.raises(ScorerError, match=r"matches no known family.*score\.weight \[3, 32\]"):
        load_scorer(tmp_path / "adapter", scoring=PLAIN)


def test_tensors_that_fit_nowhere_are_named(tmp_path: Path, base: Path) -> None:
    save_adapter(base, tmp_path / "adapter", "SEQ_CLS", 1)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({**load_file(path), "base_model.model.model.layers.9.x.lora_A.weight": torch.zeros(4, 32)}, path)
    with pytest.raises(ScorerError, match=r"does not fit its backbone.*unexpected"):
        load_scorer(tmp_path / "adapter", scoring=PLAIN)


def test_a_model_with_an_adapter_beside_it(tmp_path: Path, base: Path, make_checkpoint: MakeCheckpoint) -> None:
    save_adapter(base, tmp_path / "both", "SEQ_CLS", 1)
    make_checkpoint(tmp_path / "both")
    with pytest.raises(ScorerError, match="a whole model and an adapter"):
        load_scorer(tmp_path / "both", scoring=PLAIN)


@pytest.mark.parametrize(
    "change", [{"peft_type": "NO_SUCH"}, {"peft_type": 3}, {"r": "four"}, {"target_modules": 7}], ids=str
)
def test_odd_adapter_settings_are_one_error(tmp_path: Path, base: Path, change: dict[str, Any]) -> None:
    save_adapter(base, tmp_path / "adapter", "SEQ_CLS", 1)
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    with pytest.raises(ScorerError, match="adapter"):
        load_scorer(tmp_path / "adapter", scoring=PLAIN)
