"""What is fetched: nothing but what the user names. The tests run where every socket fails."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.config import TokenHeadConfig
from asr_data.scoring.load import load_scorer, load_scorer_tokenizer
from asr_data.scoring.reference import load_reference
from asr_data.text import load_tokenizer

MakeCheckpoint = Callable[..., Path]
PLAIN = ScoringConfig(dtype="float32")
SETTINGS = {"kind": "token_head"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Sockets fail, and every try is noted."""
    tried: list[object] = []

    def refuse(*address: object, **_: object) -> NoReturn:
        tried.append(address)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tried


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def edited(path: Path, **settings: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **settings}), encoding="utf-8")


@pytest.mark.parametrize(
    "settings",
    [
        {"_attn_implementation": "some-org/attention"},
        {"attn_implementation": "some-org/attention"},
        {"_attn_implementation_internal": "some-org/attention"},
        {"_experts_implementation": "some-org/experts"},
        {"use_kernels": True, "kernel_config": {"RMSNorm": "some-org/norm:RMSNorm"}},
        {"auto_map": {"AutoModel": "some-org/code--modeling.Model", "AutoConfig": "some-org/code--config.Config"}},
        {"_name_or_path": "some-org/base", "name_or_path": "some-org/base"},
        {"transformers_weights": "../other.safetensors"},
        {"custom_pipelines": {"x": {"impl": "some-org/code--x.X"}}},
        {"fusion_config": {"x": "some-org/kernel"}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_local_config_reaches_nothing(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, no_network: list[object], settings: dict[str, Any]
) -> None:
    head = {"score.weight": normal(1, 32)}
    plain = load_scorer(make_checkpoint(tmp_path / "plain", head, SETTINGS), scoring=PLAIN)
    directory = make_checkpoint(tmp_path / "m", head, SETTINGS)
    edited(directory / "config.json", **settings)
    scorer = load_scorer(directory, scoring=PLAIN)
    load_reference(make_language_model(tmp_path / "lm", make_checkpoint, settings), PLAIN)
    assert no_network == []
    ours, theirs = scorer.runner.backbone, plain.runner.backbone  # type: ignore[attr-defined]
    assert ours.config._attn_implementation == theirs.config._attn_implementation == "sdpa"


def make_language_model(directory: Path, make_checkpoint: MakeCheckpoint, settings: dict[str, Any]) -> Path:
    make_checkpoint(directory, {"lm_head.weight": normal(375, 32)})
    edited(directory / "config.json", **settings)
    return directory


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer_class": "SomeTokenizer", "auto_map": {"AutoTokenizer": [None, "some-org/code--tok.Tok"]}},
        {"name_or_path": "some-org/tokenizer"},
        {"_name_or_path": "some-org/tokenizer"},
        {"gguf_file": "other.gguf"},
        {"processor_class": "SomeProcessor"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_local_tokenizer_reaches_nothing(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, no_network: list[object], settings: dict[str, Any]
) -> None:
    directory = make_checkpoint(tmp_path)
    edited(directory / "tokenizer_config.json", **settings)
    with contextlib.suppress(ConfigError):  # refused is right, too
        load_tokenizer(directory)
    assert no_network == []


def adapter_only(directory: Path, base: object) -> Path:
    directory.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": base, "task_type": "SEQ_CLS"}
    (directory / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


def test_a_local_adapters_base_is_not_looked_up(tmp_path: Path, no_network: list[object]) -> None:
    directory = adapter_only(tmp_path / "adapter", "some-org/base")
    for load in (load_scorer, load_scorer_tokenizer):
        with pytest.raises(ScorerError, match=r"'some-org/base' is named by a file.*--allow-hub"):
            load(directory)
    assert no_network == []
    with pytest.raises(ScorerError, match="neither a directory nor a model that the Hub has"):
        load_scorer(directory, allow_hub=True)
    assert no_network  # asked, and refused by this test


@pytest.mark.parametrize("base", [None, 3, ""])
def test_an_adapter_without_a_base(tmp_path: Path, base: object) -> None:
    with pytest.raises(ScorerError, match="does not name the model that the adapter is for"):
        load_scorer(adapter_only(tmp_path / "adapter", base))


def test_a_backbone_and_a_presets_reference_are_not_looked_up(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, no_network: list[object]
) -> None:
    directory = make_checkpoint(tmp_path / "m", {"lm_head.weight": normal(375, 32)})
    with pytest.raises(ScorerError, match=r"'Qwen/Qwen2\.5-Math-7B-Instruct' is named by a file"):
        load_scorer(directory, preset="eurusprm", scoring=PLAIN)
    with pytest.raises(ScorerError, match="'some-org/base' is named by a file"):
        load_scorer(directory, config=TokenHeadConfig(backbone="some-org/base"), scoring=PLAIN)
    assert no_network == []


def test_a_recorded_tokenizer_is_not_looked_up(no_network: list[object]) -> None:
    with pytest.raises(ConfigError, match=r"'some-org/tokenizer' is named by a file.*--tokenizer"):
        load_tokenizer("some-org/tokenizer", hub=False)
    assert no_network == []


def hub_layout(source: Path, root: Path) -> Path:
    """As the Hub's cache has it: every file of a snapshot is a link to a blob outside of it."""
    snapshot = root / "models--me--scorer" / "snapshots" / ("a" * 40)
    blobs = root / "models--me--scorer" / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in source.rglob("*") if path.is_file())):
        shutil.copy(path, blobs / str(number))
        link = snapshot / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / str(number))
    return snapshot


def test_the_hubs_cache_is_read_through_its_links(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    settings = {**SETTINGS, "head": {"file": "head/head.safetensors"}}
    source = make_checkpoint(tmp_path / "source", settings=settings)
    (source / "head").mkdir()
    save_file({"score.weight": normal(1, 32)}, source / "head" / "head.safetensors")
    linked = load_scorer(hub_layout(source, tmp_path / "hub"), scoring=PLAIN)
    assert linked.info.fingerprint == load_scorer(source, scoring=PLAIN).info.fingerprint
