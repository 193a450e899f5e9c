from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from asr_data.scoring import stored
from asr_data.scoring.stored import StoredTensor

BF16 = torch.bfloat16


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "wide": torch.randn(37, 5, generator=generator),
        "narrow": torch.randn(37, 5, generator=generator).to(BF16),
        "counts": torch.arange(37 * 5).view(37, 5),
        "number": torch.tensor(1.0 + 2**-20),
        "none": torch.zeros(0, 5),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    return tensors, safe_open(tmp_path / "x.safetensors", framework="pt", backend="pread")


@pytest.mark.parametrize("piece", [16, 10**9], ids=["in pieces", "at once"])
@pytest.mark.parametrize("key", ["wide", "narrow", "counts", "number", "none"])
def test_what_is_read_is_what_was_stored(opened: Any, key: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, file = opened
    monkeypatch.setattr(stored, "_PIECE_BYTES", piece)
    found = StoredTensor(file, key, BF16)[...]
    if key == "wide" and piece == 16:  # narrowed on the way
        assert found.dtype == BF16
        assert torch.equal(found, tensors[key].to(BF16))
    else:
        assert found.dtype == tensors[key].dtype
        assert torch.equal(found, tensors[key])


def test_nothing_is_widened_in_pieces(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, file = opened
    monkeypatch.setattr(stored, "_PIECE_BYTES", 16)
    assert torch.equal(StoredTensor(file, "narrow", torch.float32)[...], tensors["narrow"])
    assert torch.equal(StoredTensor(file, "wide", None)[...], tensors["wide"])


def test_sizes_are_known_without_reading(opened: Any) -> None:
    tensors, file = opened
    for key, tensor in tensors.items():
        one = StoredTensor(file, key, BF16)
        assert (one.shape, one.numel(), one.nbytes) == (tuple(tensor.shape), tensor.numel(), tensor.nbytes)
        assert one.get_shape() == list(tensor.shape)
    assert StoredTensor(file, "narrow", BF16).get_dtype() == "BF16"
    assert torch.equal(StoredTensor(file, "wide", BF16)[3:5], tensors["wide"][3:5])
