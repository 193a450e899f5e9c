from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from asr_data.errors import ScorerError
from asr_data.scoring.backbone import load_backbone
from asr_data.scoring.config import HeadConfig, TokenHeadConfig
from asr_data.scoring.head import load_head

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
