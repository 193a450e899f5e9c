from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from asr_data.config import ScoringConfig
from asr_data.errors import ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.scoring.recognise import look_at
from asr_data.scoring.reference import load_reference
from asr_data.scoring.weights import find_weights, no_weights, read_tensors

MakeCheckpoint = Callable[..., Path]
INDEX = "model.safetensors.index.json"
SETTINGS = {"kind": "token_head"}
PLAIN = ScoringConfig(dtype="float32")


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sharded(directory: Path) -> Path:
    """The checkpoint in two shards with an index, and a stale shard with another head beside them."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    half = len(tensors) // 2
    parts = [dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])]
    place = {}
    for number, part in enumerate(parts, start=1):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file(part, directory / name)
        place |= dict.fromkeys(part, name)
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": place}), encoding="utf-8")
    stale = {name: torch.full_like(tensor, 9.0) for name, tensor in tensors.items()}
    save_file(stale, directory / "model-00005-of-00005.safetensors")
    return directory


def test_an_index_decides_for_backbone_and_head_alike(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    head = {"score.weight": normal(1, 32, seed=1)}
    whole = make_checkpoint(tmp_path / "whole", head, SETTINGS)
    split = sharded(shutil.copytree(whole, tmp_path / "split"))
    with caplog.at_level(logging.WARNING):
        mixed = load_scorer(split, scoring=PLAIN)
    assert "not part of the checkpoint, not read: model-00005-of-00005.safetensors" in caplog.text
    clean = load_scorer(whole, scoring=PLAIN)
    for one, other in zip(
        mixed.runner.backbone.state_dict().values(),  # type: ignore[attr-defined]
        clean.runner.backbone.state_dict().values(),  # type: ignore[attr-defined]
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(
        mixed.runner.readout.head.weight,  # type: ignore[attr-defined]
        head["score.weight"],
        rtol=0,
        atol=0,
    )


def test_an_index_decides_for_recognition_and_log_probabilities(
    tmp_path: Path, make_checkpoint: MakeCheckpoint
) -> None:
    directory = sharded(make_checkpoint(tmp_path / "m", {"lm_head.weight": normal(375, 32, seed=2)}))
    save_file({"score.weight": normal(1, 32, seed=3)}, directory / "model-00001-of-00009.safetensors")
    assert "score.weight" not in look_at(directory).tensors
    head = load_reference(directory, PLAIN).engine.readout.head.model  # type: ignore[attr-defined]
    torch.testing.assert_close(head.lm_head.weight, normal(375, 32, seed=2), rtol=0, atol=0)


def test_a_tensor_is_read_from_the_file_that_the_index_names(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1), "b": torch.ones(1)}, tmp_path / "1.safetensors")
    save_file({"a": torch.full((1,), 7.0)}, tmp_path / "2.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}}))
    found = read_tensors(tmp_path, lambda _key: True, pickles=False)
    assert {name: tensor.item() for name, tensor in found.items()} == {"a": 7.0, "b": 1.0}


def test_without_an_index_it_is_the_single_file(tmp_path: Path) -> None:
    for name in ("model.safetensors", "head.safetensors", "adapter_model.safetensors"):
        save_file({"a": torch.zeros(1)}, tmp_path / name)
    found = find_weights(tmp_path, pickles=False)
    assert found.files == (tmp_path / "model.safetensors",)
    assert found.unread == ("head.safetensors",)


def test_shards_without_an_index(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model-00001-of-00001.safetensors")
    assert find_weights(tmp_path, pickles=False).files == ()
    assert "neither model.safetensors nor an index" in no_weights(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[]", "not an index of weights"),
        ("{}", "not an index of weights"),
        ('{"weight_map": []}', "not an index of weights"),
        ('{"weight_map": {}}', "names no weights"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "which is missing"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "stand beside its index"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "stand beside its index"),
        ('{"weight_map": {"a": 3}}', "which is missing"),
    ],
)
def test_an_index_that_cannot_be_right(tmp_path: Path, index: str, message: str) -> None:
    (tmp_path / INDEX).write_text(index, encoding="utf-8")
    with pytest.raises(ScorerError, match=message):
        find_weights(tmp_path, pickles=False)
