from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_data.config import ScoringConfig
from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.types import Completion, Row

MakeCheckpoint = Callable[..., Path]
PLAIN = ScoringConfig(dtype="float32")
ROW = Row(0, {}, "Two and two?", (Completion("completion", "The answer is four.", preferred=True),))


def head(hidden: int = 32) -> dict[str, Tensor]:
    return {"score.weight": torch.randn(1, hidden, generator=torch.Generator().manual_seed(0))}


@pytest.fixture
def checkpoint(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> Path:
    return make_checkpoint(tmp_path / "m", head(), {"kind": "token_head"})


def quantised_with(directory: Path, **settings: Any) -> Path:
    path = directory / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), "quantization_config": settings}
    path.write_text(json.dumps(config), encoding="utf-8")
    return directory


def rewards(directory: Path) -> Tensor:
    (answer,) = load_scorer(directory, scoring=PLAIN).score([ROW])
    assert isinstance(answer, tuple)
    return torch.from_numpy(answer[0].span_reward)


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "fp8"}, "accelerate"),
        ({"quant_method": "mxfp4"}, "accelerate"),
    ],
    ids=str,
)
def test_a_missing_package_is_named(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], package: str
) -> None:
    found = importlib.util.find_spec
    hidden = {"bitsandbytes", "gptqmodel", "optimum", "compressed_tensors", "accelerate"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name in hidden else found(name, *a))
    with pytest.raises(MissingDependencyError) as caught:
        load_scorer(quantised_with(checkpoint, **settings))
    method = settings.get("quant_method", "bitsandbytes")
    assert str(caught.value) == (
        f"{checkpoint}, which is quantised ({method}), needs the package {package!r}, which is not installed: "
        f"pip install {package}"
    )


def test_other_formats_are_refused_by_name(checkpoint: Path) -> None:
    with pytest.raises(ScorerError, match="quantised with 'aqlm', which is not read here; allowed are bitsandbytes"):
        load_scorer(quantised_with(checkpoint, quant_method="aqlm"))


@pytest.mark.parametrize("bits", [4, 8])
def test_bitsandbytes(checkpoint: Path, tmp_path: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    from transformers import AutoModel, BitsAndBytesConfig, LlamaConfig, LlamaModel

    # Wider than the other tests' models: bitsandbytes packs 64 numbers together.
    wide = LlamaConfig.from_pretrained(checkpoint, hidden_size=128, intermediate_size=256, head_dim=64)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        LlamaModel(wide).save_pretrained(tmp_path / "wide")
    settings = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    theirs = AutoModel.from_pretrained(
        tmp_path / "wide", quantization_config=settings, dtype=torch.float32, device_map="cpu"
    )
    target = tmp_path / "q"
    theirs.save_pretrained(target)
    add_head_and_tokenizer(checkpoint, target, 128)
    scorer: Any = load_scorer(target, scoring=PLAIN)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        expected, ours = theirs(ids).last_hidden_state, scorer.runner.backbone(ids).last_hidden_state
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
    assert torch.isfinite(rewards(target)).all()


def test_compressed_tensors(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed")
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, apply_quantization_config
    from transformers import AutoModel

    model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32)
    settings = QuantizationConfig.model_validate(
        {"config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int"}}}}
    )
    apply_quantization_config(model, settings)
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.data = module.weight.abs().amax().reshape(module.weight_scale.shape) / 127
            module.quantization_status = QuantizationStatus.FROZEN
    expected = {name: p.detach().clone() for name, p in model.named_parameters() if name.endswith("proj.weight")}
    compressor = ModelCompressor.from_pretrained_model(model)
    assert compressor is not None
    compressor.compress_model(model)
    target = tmp_path / "q"
    model.save_pretrained(target)
    compressor.update_config(str(target))
    add_head_and_tokenizer(checkpoint, target)
    backbone = load_scorer(target, scoring=PLAIN).runner.backbone  # type: ignore[attr-defined]
    read = dict(backbone.named_parameters())
    for name, weight in expected.items():
        step = float(weight.abs().max()) / 127
        torch.testing.assert_close(read[name], weight, rtol=0, atol=0.51 * step)
    assert torch.isfinite(rewards(target)).all()


def add_head_and_tokenizer(source: Path, target: Path, hidden: int = 32) -> None:
    from safetensors.torch import save_file

    save_file(head(hidden), target / "head.safetensors")
    settings = {"kind": "token_head", "head": {"file": "head.safetensors"}}
    (target / "asr_scorer.json").write_text(json.dumps(settings), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (source / name).is_file():
            shutil.copy(source / name, target / name)
