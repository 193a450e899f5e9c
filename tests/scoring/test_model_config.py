from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.load import load_scorer

MakeCheckpoint = Callable[..., Path]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        "{",
        "{}",
        '{"model_type": 3}',
        '{"model_type": "no-such-model"}',
        '{"model_type": "llama", "hidden_size": "big"}',
        '{"model_type": "llama", "hidden_size": 0}',
        '{"model_type": "llama", "hidden_size": -32}',
        '{"model_type": "llama", "vocab_size": null}',
        '{"model_type": "llama", "num_attention_heads": 0}',
        '{"model_type": "llama", "num_hidden_layers": "two"}',
        '{"model_type": "llama", "rope_scaling": {"rope_type": "spiral"}}',
        '{"model_type": "llama", "hidden_act": "no-such-act"}',
        '{"model_type": "llama", "quantization_config": 4}',
        '{"model_type": "llama", "quantization_config": {"quant_method": "no-such-method"}}',
        '{"model_type": "llama", "dtype": "float99"}',
        '{"architectures": 7, "model_type": "llama"}',
    ],
)
def test_an_odd_config_is_one_error(tmp_path: Path, make_checkpoint: MakeCheckpoint, content: str) -> None:
    directory = make_checkpoint(tmp_path, settings={"kind": "token_head"})
    (directory / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises((ScorerError, ConfigError)) as error:
        load_scorer(directory)
    assert str(directory) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        3,
        {"kind": 3},
        {"kind": "no-such-kind"},
        {"kind": "token_head", "head": 3},
        {"kind": "token_head", "indices": "x"},
        {"kind": "token_head", "prompt": {"strings": "sideways"}},
        {"kind": "token_head", "backbone": {"package": 3}},
        {"kind": "token_head", "adapter": 3},
        {"kind": "token_head", "adapter": "../elsewhere"},
        {"kind": "token_head", "head": {"file": "/etc/passwd"}},
        {"kind": "token_head", "head": {"file": "config.json"}},
    ],
    ids=json.dumps,
)
def test_odd_settings_are_one_error(tmp_path: Path, make_checkpoint: MakeCheckpoint, settings: object) -> None:
    directory = make_checkpoint(tmp_path)
    (directory / "asr_scorer.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises((ConfigError, ScorerError)):  # of the settings' form; of what they name
        load_scorer(directory)
