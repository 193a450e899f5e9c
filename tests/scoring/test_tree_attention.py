"""Decoders of many families: trees against one sequence at a time, with nothing of ours in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from asr_data.scoring.tree import grow_trees
from asr_data.scoring.tree_attention import tree_states, why_not_tree, why_not_tree_remembered

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
TREES = {
    "llama": {},
    "llama one key-value head": {
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    },
    "mistral": {"sliding_window": 12},
    "mistral full": {"sliding_window": None},
    "qwen2": {},
    "qwen2 mixed": {
        "use_sliding_window": True,
        "sliding_window": 12,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    },
    "qwen3": {},
    "gemma": {},
    "gemma2": {"sliding_window": 12},
    "gemma3_text": {"sliding_window": 12, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "phi3": {"sliding_window": 12},
    "olmo2": {},
    "smollm3": {},
    "granite": {},
    "starcoder2": {"sliding_window": None},
    "gpt_neox": {},
    "gpt2": {},
}
PLAIN = {
    "bert": "differ",  # sees later tokens
    "bloom": "does not accept",  # ALiBi wants a padding mask to count positions
    "mamba": "linear_attention",
    "qwen3_next": "linear_attention",
}


def decoder(name: str, settings: dict[str, Any] | None = None) -> nn.Module:
    kind = name.split()[0]
    config = AutoConfig.for_model(kind, **{**SIZES, **(settings or {})})
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return AutoModel.from_config(config, dtype=torch.float32).eval()  # type: ignore[no-any-return]


def sequences() -> list[list[int]]:
    rng = np.random.default_rng(1)
    ids = rng.integers(1, 64, 120).tolist()
    prompt = ids[:30]
    return [
        prompt + ids[30:50],
        prompt + ids[50:60],
        prompt + ids[50:55] + [7, 7],
        [*prompt[:20], 9, *ids[60:80]],
        ids[80:84],
    ]


@torch.inference_mode()
def alone(model: nn.Module, ids: list[int]) -> Tensor:
    return model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", TREES)
@torch.inference_mode()
def test_a_tree_is_what_each_sequence_is_alone(name: str) -> None:
    model = decoder(name, TREES[name])
    assert why_not_tree(model) is None
    all_ids = sequences()
    trees = list(grow_trees(all_ids, lambda size, new, _length: size + new < 90))
    assert len(trees) == 1
    other = list(grow_trees([[3, 4, 5]], lambda *_: True))
    states = tree_states(model, trees + other)
    for member, i in enumerate(trees[0].members):
        nodes = trees[0].nodes(member, range(len(all_ids[i])))
        torch.testing.assert_close(states[nodes], alone(model, all_ids[i]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(states[-3:], alone(model, [3, 4, 5]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PLAIN)
def test_who_cannot_take_trees(name: str) -> None:
    reason = why_not_tree(decoder(name))
    assert reason is not None
    assert PLAIN[name] in reason


def test_a_window_that_is_not_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder("mistral", {"sliding_window": 12})
    monkeypatch.setattr("asr_data.scoring.tree_attention._windows", lambda _config: {"full_attention": None})
    assert "differ" in str(why_not_tree(model))


def test_a_module_that_says_nothing_of_itself() -> None:
    assert "config does not describe" in str(why_not_tree(nn.Linear(2, 2)))


class Counted:
    """The decoder's passes."""

    def __init__(self, model: nn.Module) -> None:
        self.passes = 0
        model.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self.passes += 1


def test_a_decoder_of_the_cache_is_tried_once(tmp_path: Path) -> None:
    model = decoder("llama")
    counted = Counted(model)
    assert why_not_tree_remembered(model, tmp_path) is None
    tried = counted.passes
    assert tried > 1
    assert why_not_tree_remembered(model, tmp_path) is None
    assert counted.passes == tried
    assert why_not_tree_remembered(model, None) is None  # from no cache: tried every time
    assert counted.passes == 2 * tried


@pytest.mark.parametrize("change", ["dtype", "attention", "check"])
def test_what_was_found_holds_for_what_was_tried(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder("llama")
    assert why_not_tree_remembered(model, tmp_path) is None
    if change == "dtype":
        model.to(torch.float64)
    elif change == "attention":
        model.set_attn_implementation("eager")
    else:
        monkeypatch.setattr("asr_data.scoring.tree_attention._CHECK", 0)
    counted = Counted(model)
    assert why_not_tree_remembered(model, tmp_path) is None
    assert counted.passes > 1


def test_a_decoder_that_takes_no_trees_is_tried_each_time(tmp_path: Path) -> None:
    model = decoder("bert")
    first = why_not_tree_remembered(model, tmp_path)
    assert first is not None
    assert why_not_tree_remembered(model, tmp_path) == first
