from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from asr_data.errors import ScorerError
from asr_data.scoring.backbone import load_backbone
from asr_data.scoring.config import HeadConfig, TokenHeadConfig
from asr_data.scoring.head import load_head
from asr_data.scoring.quiet import quiet_transformers
from asr_data.scoring.stored import StoredTensor

MakeCheckpoint = Callable[..., Path]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LINEAR = {"score.weight": normal(1, 32), "score.bias": normal(1)}


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
    with pytest.raises(ScorerError, match=r"cannot read .*model\.safetensors"):
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
    with pytest.raises(ScorerError, match=r"cannot read .*config\.json"):
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


def test_an_adapter_is_merged_in_float32_whatever_the_weights_are_in(
    tmp_path: Path, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    plain, _ = load_backbone(TokenHeadConfig(), directory, dtype=torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    factors = save_adapter(directory / "adapter", plain)
    merged, _ = load_backbone(TokenHeadConfig(adapter="adapter"), directory, dtype=torch.bfloat16)
    for name, tensor in merged.state_dict().items():
        wanted = before[name]
        if name in factors:  # rounded once
            wanted = (before[name].float() + 8 / 2 * factors[name][1] @ factors[name][0]).to(torch.bfloat16)
        assert torch.equal(tensor, wanted), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_weights_are_in_the_number_format_and_what_is_computed_from_the_settings_is_not(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, dtype: torch.dtype
) -> None:
    directory = make_checkpoint(tmp_path, LINEAR)
    stored = load_file(directory / "model.safetensors")
    backbone, _ = load_backbone(TokenHeadConfig(), directory, dtype=dtype)
    for name, tensor in backbone.named_parameters():
        assert torch.equal(tensor, stored[f"model.{name}"].to(dtype))
    # Angles of rotary positions: in bfloat16 they would be off by a turn after some hundred tokens.
    frequencies = dict(backbone.named_buffers())["rotary_emb.inv_freq"]
    assert frequencies.dtype == torch.float32
    torch.testing.assert_close(frequencies, 10_000.0 ** (-torch.arange(0, 16, 2) / 16))


def test_weights_are_read_one_by_one(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tensor that was read is still held beside the model's own."""
    directory = make_checkpoint(tmp_path, LINEAR)
    read: list[Any] = []
    real = StoredTensor.__getitem__

    def watched(self: StoredTensor, index: Any) -> Tensor:
        tensor = real(self, index)
        read.append(weakref.ref(tensor.untyped_storage()))
        return tensor

    monkeypatch.setattr(StoredTensor, "__getitem__", watched)
    backbone, _ = load_backbone(TokenHeadConfig(), directory, dtype=torch.bfloat16)
    assert len(read) == len(list(backbone.parameters()))  # each once, and no head
    assert all(storage() is None for storage in read)


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
