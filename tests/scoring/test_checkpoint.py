from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.checkpoint import (
    load_backbone,
    load_head,
    packaged_file,
    quiet_transformers,
    resolve_directory,
)
from asr_data.scoring.config import HeadConfig, PackagedBackbone, TokenHeadConfig

MakeCheckpoint = Callable[..., Path]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LINEAR = {"score.weight": normal(1, 32), "score.bias": normal(1)}
MLP2 = {
    "score.0.weight": normal(32, 32),
    "score.0.bias": normal(32),
    "score.2.weight": normal(2, 32),
    "score.2.bias": normal(2),
}


def head_of(directory: Path, config: HeadConfig) -> nn.Module:
    _, extra = load_backbone(TokenHeadConfig(head=config, indices=(0,)), directory)
    return load_head(config, directory, extra, 32)


def test_the_backbone_is_the_checkpoints(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    backbone, extra = load_backbone(TokenHeadConfig(), directory)
    assert extra == set(LINEAR)
    stored = load_file(directory / "model.safetensors")
    for name, tensor in backbone.state_dict().items():
        torch.testing.assert_close(tensor, stored[f"model.{name}"], rtol=0, atol=0)
    assert not backbone.training


def test_a_language_model_head_is_not_ours(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, {**LINEAR, "lm_head.weight": normal(375, 32)})
    _, extra = load_backbone(TokenHeadConfig(), directory)
    assert extra == set(LINEAR)


def test_linear(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    x = normal(3, 32, seed=1)
    head = head_of(make_checkpoint(tmp_path / "bias", LINEAR), HeadConfig())
    torch.testing.assert_close(head(x), x @ LINEAR["score.weight"].T + LINEAR["score.bias"])
    head = head_of(make_checkpoint(tmp_path / "none", {"score.weight": LINEAR["score.weight"]}), HeadConfig())
    torch.testing.assert_close(head(x), x @ LINEAR["score.weight"].T)


def test_mlp2(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    x = normal(3, 32, seed=1)
    head = head_of(make_checkpoint(tmp_path, MLP2), HeadConfig(kind="mlp2", labels=2))
    inner = (x @ MLP2["score.0.weight"].T + MLP2["score.0.bias"]).clamp(min=0)
    torch.testing.assert_close(head(x), inner @ MLP2["score.2.weight"].T + MLP2["score.2.bias"])


def test_v_head(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    x = normal(3, 32, seed=1)
    tensors = {"v_head.summary.weight": normal(1, 32), "v_head.summary.bias": normal(1)}
    head = head_of(make_checkpoint(tmp_path, tensors), HeadConfig(kind="v_head", prefix="v_head."))
    torch.testing.assert_close(head(x), x @ tensors["v_head.summary.weight"].T + tensors["v_head.summary.bias"])


def test_bfloat16_heads_are_read_in_float32(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    head = head_of(make_checkpoint(tmp_path, {k: v.bfloat16() for k, v in LINEAR.items()}), HeadConfig())
    assert {p.dtype for p in head.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("tensors", "config", "named"),
    [
        ({}, HeadConfig(), ["missing ['score.weight']"]),
        ({"scores.weight": normal(1, 32)}, HeadConfig(), ["missing ['score.weight']", "['scores.weight']"]),
        ({**LINEAR, "score.scale": normal(1)}, HeadConfig(), ["missing none", "unexpected ['score.scale']"]),
        ({**LINEAR, "value.weight": normal(1)}, HeadConfig(), ["unexpected ['value.weight']"]),
        ({"score.bias": normal(1)}, HeadConfig(), ["missing ['score.weight']"]),
        ({**LINEAR, "score.weight": normal(2, 32)}, HeadConfig(), ["'score.weight'", "[2, 32]", "[1, 32]"]),
        (LINEAR, HeadConfig(labels=2), ["'score.weight'", "[1, 32]", "[2, 32]"]),
        (
            {k: v for k, v in MLP2.items() if k != "score.2.bias"},
            HeadConfig(kind="mlp2", labels=2),
            ["missing ['score.2.bias']"],
        ),
        (LINEAR, HeadConfig(kind="v_head", prefix="v_head."), ["missing ['v_head.summary.bias'"]),
    ],
)
def test_a_head_that_does_not_fit_is_named(
    tmp_path: Path,
    make_checkpoint: MakeCheckpoint,
    tensors: dict[str, Tensor],
    config: HeadConfig,
    named: list[str],
) -> None:
    with pytest.raises(ScorerError) as caught:
        head_of(make_checkpoint(tmp_path, tensors), config)
    for words in [*named, str(tmp_path)]:
        assert words in str(caught.value)


def test_a_head_in_a_file_of_its_own(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path)
    save_file(LINEAR, directory / "head.safetensors")
    head = head_of(directory, HeadConfig(file="head.safetensors"))
    torch.testing.assert_close(head.state_dict()["weight"], LINEAR["score.weight"])


@pytest.mark.parametrize(("file", "message"), [("none.safetensors", "no head at"), ("../x", "points outside")])
def test_a_head_file_that_is_not_there(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, file: str, message: str
) -> None:
    with pytest.raises(ScorerError, match=message):
        head_of(make_checkpoint(tmp_path), HeadConfig(file=file))


def test_a_head_file_that_is_no_safetensors(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    (tmp_path / "head.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ScorerError, match=r"cannot read .*head\.safetensors"):
        head_of(make_checkpoint(tmp_path), HeadConfig(file="head.safetensors"))


def test_a_backbone_tensor_is_missing(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR, without="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(ScorerError, match=r"missing \['layers\.1\.mlp\.up_proj\.weight'\]"):
        load_backbone(TokenHeadConfig(), directory)


def test_a_backbone_tensor_of_another_shape(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR, without="model.norm.weight")
    tensors = load_file(directory / "model.safetensors")
    save_file({**tensors, "model.norm.weight": normal(16)}, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ScorerError, match=r"mismatched .*norm\.weight"):
        load_backbone(TokenHeadConfig(), directory)


def test_broken_weights(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ScorerError, match="cannot load a model from"):
        load_backbone(TokenHeadConfig(), directory)


def test_pickled_weights_are_not_read(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    with pytest.raises(ScorerError, match="read only with --allow-pickle"):
        load_backbone(TokenHeadConfig(), directory)


def test_pickled_weights_are_read_where_they_are_allowed(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    safe, extra = load_backbone(TokenHeadConfig(), directory)
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    pickled, same = load_backbone(TokenHeadConfig(), directory, pickles=True)
    assert same == extra == {"score.weight", "score.bias"}
    assert all(torch.equal(a, b) for a, b in zip(safe.parameters(), pickled.parameters(), strict=True))
    head = load_head(HeadConfig(), directory, extra, 32, pickles=True)
    assert torch.equal(head.state_dict()["weight"], LINEAR["score.weight"])


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    (directory / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Trap(tmp_path / "ran")}, directory / "pytorch_model.bin")
    with pytest.raises(ScorerError, match="cannot"):
        load_backbone(TokenHeadConfig(), directory, pickles=True)
    assert not (tmp_path / "ran").exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="cannot load a model from"):
        load_backbone(TokenHeadConfig(), tmp_path)


def save_adapter(directory: Path, backbone: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """An adapter on one layer; returns its two factors."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=2, lora_alpha=8, target_modules=["layers.0.mlp.up_proj"])
    with quiet_transformers():
        adapted = get_peft_model(backbone, settings)
    factors = {}
    for name, module in adapted.named_modules():
        if name.endswith("up_proj") and hasattr(module, "lora_A"):
            module.lora_A["default"].weight.data = normal(2, 32, seed=5)
            module.lora_B["default"].weight.data = normal(64, 2, seed=6)
            factors["layers.0.mlp.up_proj.weight"] = (normal(2, 32, seed=5), normal(64, 2, seed=6))
    adapted.save_pretrained(str(directory))
    return factors


def test_an_adapter_is_merged(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    plain, _ = load_backbone(TokenHeadConfig(), directory)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    factors = save_adapter(directory / "adapter", plain)
    merged, extra = load_backbone(TokenHeadConfig(adapter="adapter"), directory)
    assert extra == set(LINEAR)
    assert set(merged.state_dict()) == set(before)
    for name, tensor in merged.state_dict().items():
        wanted = before[name]
        if name in factors:  # W + alpha / r × B A
            wanted = wanted + 8 / 2 * factors[name][1] @ factors[name][0]
        torch.testing.assert_close(tensor, wanted)
    assert len(factors) == 1


def test_an_adapter_that_is_not_there(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    with pytest.raises(ScorerError, match="no adapter at"):
        load_backbone(TokenHeadConfig(adapter="adapter"), make_checkpoint(tmp_path))


def test_an_adapter_that_lacks_a_tensor(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    save_adapter(directory / "adapter", load_backbone(TokenHeadConfig(), directory)[0])
    weights = directory / "adapter" / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(weights).items() if "lora_B" not in k}, weights)
    with pytest.raises(ScorerError, match=r"does not fit its backbone: .*lora_B"):
        load_backbone(TokenHeadConfig(adapter="adapter"), directory)


def test_a_backbone_in_another_directory(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    make_checkpoint(tmp_path / "scorer" / "backbone")
    beside, _ = load_backbone(TokenHeadConfig(backbone="backbone"), tmp_path / "scorer")
    elsewhere, _ = load_backbone(TokenHeadConfig(backbone=str(tmp_path / "scorer" / "backbone")), tmp_path / "other")
    torch.testing.assert_close(beside.state_dict(), elsewhere.state_dict())


def test_a_packaged_backbone_that_is_not_installed() -> None:
    missing = PackagedBackbone(package="no_such_package", gguf_file="a.gguf", install="pip install no-such==1")
    with pytest.raises(MissingDependencyError, match="pip install no-such==1"):
        packaged_file(missing)


def test_a_package_without_the_file() -> None:
    wrong = PackagedBackbone(package="pytest", gguf_file="a.gguf", install="pip install pytest")
    with pytest.raises(ScorerError, match=r"'pytest' holds no file 'a\.gguf'"):
        packaged_file(wrong)


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c"])
def test_a_directory_that_is_not_there(name: str) -> None:
    with pytest.raises(ScorerError, match="is not a model directory"):
        resolve_directory(name)


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ScorerError, match="is not a model directory"):
        resolve_directory(str(tmp_path / "model.gguf"))


def test_a_hub_id_is_fetched_without_code_or_pickles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}

    def fetch(name: str, **options: object) -> str:
        asked[name] = options
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert resolve_directory("owner/model", "main") == tmp_path
    assert asked["owner/model"]["revision"] == "main"
    patterns = str(asked["owner/model"]["allow_patterns"])
    assert ".safetensors" in patterns
    assert not any(suffix in patterns for suffix in (".py", ".bin", ".pt", ".pkl"))


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, **options: object) -> str:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ScorerError, match="'owner/model' is neither a directory nor a model that the hub gives"):
        resolve_directory("owner/model")
