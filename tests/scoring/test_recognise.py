"""Checkpoints of every family are told apart by what stands in their files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from asr_data.errors import ScorerError
from asr_data.scoring.presets import all_presets
from asr_data.scoring.recognise import look_at, recognise


def checkpoint(
    directory: Path,
    architecture: str,
    tensors: dict[str, tuple[int, ...]],
    *,
    model_type: str = "qwen2",
    template: bool = False,
) -> Path:
    directory.mkdir(exist_ok=True)
    config = {"architectures": [architecture], "model_type": model_type}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    body = {"model.embed_tokens.weight": (8, 4), "model.layers.0.mlp.up_proj.weight": (4, 4)}
    save_file({k: torch.zeros(v) for k, v in {**body, **tensors}.items()}, directory / "model.safetensors")
    settings = {"chat_template": "{{ messages }}"} if template else {}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


MLP = {"score.0.weight": (4, 4), "score.0.bias": (4,), "score.2.weight": (2, 4), "score.2.bias": (2,)}
TWO = {"score.weight": (2, 4), "score.bias": (2,)}
ONE = {"score.weight": (1, 4)}
V_HEAD = {"v_head.summary.weight": (1, 4), "v_head.summary.bias": (1,)}
KNOWN: list[tuple[str, str, dict[str, tuple[int, ...]], dict[str, Any]]] = [
    ("qwen2.5-math-prm", "Qwen2ForProcessRewardModel", MLP, {}),
    ("trl-prm", "LlamaForTokenClassification", TWO, {"model_type": "llama"}),
    ("reasoneval-7b", "ReasonEval_7B", {"score_head.weight": (3, 4)}, {"model_type": "mistral"}),
    ("reasoneval-34b", "ReasonEval_34B", {"score_head.weight": (3, 4)}, {"model_type": "llama"}),
    ("skywork-o1-prm", "Qwen2ForPrmModel", {**V_HEAD, "lm_head.weight": (8, 4)}, {}),
    ("skywork-reward-v2", "Qwen3ForSequenceClassification", ONE, {"model_type": "qwen3", "template": True}),
    ("openrlhf-rm", "RewardModel", ONE, {"model_type": "llama"}),
]


@pytest.mark.parametrize(("name", "architecture", "tensors", "more"), KNOWN, ids=[known[0] for known in KNOWN])
def test_known_families(
    name: str, architecture: str, tensors: dict[str, tuple[int, ...]], more: dict[str, Any], tmp_path: Path
) -> None:
    config, reason = recognise(checkpoint(tmp_path / "m", architecture, tensors, **more))
    assert config == all_presets()[name].config
    assert architecture in reason
    assert all_presets()[name].title in reason


def test_every_family_that_can_be_recognised_is_tried_above() -> None:
    tried = {known[0] for known in KNOWN} | {"pure-prm"}
    assert {name for name, preset in all_presets().items() if preset.signs is not None} == tried


def test_two_families_that_look_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match=r"more than one family \(pure-prm, trl-prm\).*--preset"):
        recognise(checkpoint(tmp_path / "m", "Qwen2ForTokenClassification", TWO))


@pytest.mark.parametrize(
    ("architecture", "tensors", "message"),
    [
        (
            "Qwen2ForProcessRewardModel",
            {**MLP, "score.2.weight": (3, 4)},
            r"no known family.*score\.2\.weight \[3, 4\]",
        ),
        ("Qwen2ForProcessRewardModel", {"score.0.weight": (4, 4)}, "--preset.*asr_scorer.json"),
        ("RewardModel", {"value_head.weight": (1, 4)}, "value_head.weight"),
        ("RewardModel", {**ONE, "score.bias": (1,)}, "score.bias"),
        ("Qwen2ForCausalLM", {"lm_head.weight": (8, 4)}, "label tokens.*math-shepherd"),
        ("Qwen2ForSequenceClassification", ONE, "no known family"),  # without a chat template
    ],
)
def test_what_is_no_known_family(
    architecture: str, tensors: dict[str, tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ScorerError, match=message):
        recognise(checkpoint(tmp_path / "m", architecture, tensors))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", "RewardModel", ONE)
    (directory / "config.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ScorerError, match="not a JSON object"):
        recognise(directory)
    (directory / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ScorerError, match="cannot read"):
        recognise(directory)
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(ScorerError, match="cannot read"):
        recognise(directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(ScorerError, match="no weights in safetensors"):
        recognise(directory)


def test_added_tokens_and_templates_are_seen(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    seen = look_at(make_checkpoint(tmp_path / "m", head={"score.weight": torch.zeros(1, 32)}))
    assert seen.chat_template
    assert "<sep>" in seen.tokens
    assert seen.heads == ["score.weight"]


def test_what_is_said_of_recognition_is_true_and_the_same_everywhere() -> None:
    page = (Path(__file__).parents[2] / "docs/scoring.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    documented = {
        name: row.split("|")[3].strip().replace("`", "")
        for row in rows
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }
    told_apart = {name for name, *_ in KNOWN}
    for name, preset in all_presets().items():
        assert preset.recognised == documented[name]
        assert preset.recognised.startswith("yes") == (name in told_apart), name
