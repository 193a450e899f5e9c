"""Rewards of quantised checkpoints beside those of the plain one.

    python -m benchmarks.quantised DIR [--rows 20] [--formats plain nf4 int8 gptq awq ct-int8 ct-fp8 fp8]

Each format is made from SmolLM2-135M-Instruct by its own library, kept in DIR, loaded as users would load it, and read
as a language model (``--kind logp``): rewards are log-probabilities of tokens, in nats. What cannot be made or loaded
is a line that says why. The libraries are best installed into an environment of their own:

    pip install bitsandbytes compressed-tensors optimum gptqmodel
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from asr_data.types import Float32

_GROUP: Final = 64
"""Weights of one scale: SmolLM2's layers are 576 wide, which 128 does not divide."""


def rows(count: int) -> list[Any]:
    """The first pairs of the sample that comes with the package."""
    from asr_data.rows import detect, first_records, open_source, read_rows
    from asr_data.sample import sample_path
    from asr_data.types import Row

    source = open_source(sample_path())
    layout = detect(source.schema, first_records(source))
    found = [row for batch in read_rows(source, layout, count, 0, count) for row in batch if isinstance(row, Row)]
    return found[:count]


def plain(directory: Path) -> None:
    """SmolLM2 out of its GGUF file, in float32."""
    from transformers import AutoModelForCausalLM

    from asr_data.scoring.gguf_file import load_gguf
    from asr_data.scoring.locate import packaged_file
    from asr_data.scoring.settings import builtin_backbone
    from asr_data.text import load_tokenizer

    decoder = load_gguf(packaged_file(builtin_backbone()))
    model = AutoModelForCausalLM.from_config(decoder.config, dtype=torch.float32)
    model.base_model.load_state_dict(decoder.state_dict())
    model.save_pretrained(directory)
    load_tokenizer("builtin").hf.save_pretrained(directory)


def bitsandbytes(base: Path, directory: Path, bits: int) -> None:
    """8 bit (LLM.int8) or NF4."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=settings, dtype=torch.float32, device_map="cpu"
    )
    model.save_pretrained(directory)


def gptqmodel(base: Path, directory: Path, method: str) -> None:
    """4 bit by GPTQ or AWQ, calibrated on sixteen texts of the sample, and AWQ, which takes far longer, on four."""
    cores = os.cpu_count() or 1
    os.cpu_count = lambda: max(4, cores)  # gptqmodel 7.7 starts two loaders and fails with fewer cores than three
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from gptqmodel.quantization import FORMAT, METHOD

    texts = [
        str(row.prompt) + " " + str(side.content)
        for row in rows(2 if method == "awq" else 8)
        for side in row.completions
    ]
    if method == "awq":
        settings = QuantizeConfig(bits=4, group_size=_GROUP, quant_method=METHOD.AWQ, format=FORMAT.GEMM)
    else:
        settings = QuantizeConfig(bits=4, group_size=_GROUP)
    model = GPTQModel.load(str(base), settings, device="cpu", backend=BACKEND.AUTO)
    model.quantize(texts, batch_size=4)
    model.save(str(directory))


def compressed_tensors(base: Path, directory: Path, kind: str) -> None:
    """8 bits a weight, a scale for each row, by round to nearest."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, apply_quantization_config
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    weights = {"num_bits": 8, "type": kind, "strategy": "channel"}
    settings = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": ["lm_head"]}
    apply_quantization_config(model, QuantizationConfig.model_validate(settings))
    largest = 127 if kind == "int" else 448
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.data = module.weight.abs().amax(dim=1, keepdim=True) / largest
            module.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model)
    assert compressor is not None
    compressor.compress_model(model)
    model.save_pretrained(directory)
    compressor.update_config(str(directory))


def fp8(base: Path, directory: Path) -> None:
    """FP8 in blocks as DeepSeek-V3 has it; transformers makes it on a GPU only, so it is made by hand."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig

    block = _GROUP
    found = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            found[name] = tensor
            continue
        tall, wide = tensor.shape[0] // block, tensor.shape[1] // block
        blocks = tensor.view(tall, block, wide, block)
        scale = blocks.abs().amax(dim=(1, 3)) / 448
        found[name] = (blocks / scale[:, None, :, None]).view(tensor.shape).to(torch.float8_e4m3fn)
        found[f"{name}_scale_inv"] = scale
    directory.mkdir(exist_ok=True)
    save_file(found, directory / "model.safetensors", metadata={"format": "pt"})
    config = AutoConfig.from_pretrained(base)
    config.quantization_config = {"quant_method": "fp8", "weight_block_size": [block, block]}
    config.save_pretrained(directory)


FORMATS: Final[dict[str, Callable[[Path, Path], None]]] = {
    "nf4": lambda base, directory: bitsandbytes(base, directory, 4),
    "int8": lambda base, directory: bitsandbytes(base, directory, 8),
    "gptq": lambda base, directory: gptqmodel(base, directory, "gptq"),
    "awq": lambda base, directory: gptqmodel(base, directory, "awq"),
    "ct-int8": lambda base, directory: compressed_tensors(base, directory, "int"),
    "ct-fp8": lambda base, directory: compressed_tensors(base, directory, "float"),
    "fp8": fp8,
}


def rewards(directory: Path, count: int) -> tuple[list[Float32], dict[str, Any]]:
    """Rewards of every response, and what the manifest says of the model."""
    from asr_data import load_scorer
    from asr_data.config import ScoringConfig

    scorer: Any = load_scorer(directory, "logp", scoring=ScoringConfig(dtype="float32", device="cpu"))
    answers = scorer.score(rows(count))
    return [side.span_reward for answer in answers for side in answer], dict(scorer.info.settings)


def line(name: str, base: Path, directory: Path, count: int, wanted: list[Float32]) -> str:
    """One line of the table."""
    if not (directory / "done").is_file():
        FORMATS[name](base, directory)
        for file in base.glob("*token*"):
            (directory / file.name).write_bytes(file.read_bytes())
        for file in base.glob("*.jinja"):
            (directory / file.name).write_bytes(file.read_bytes())
        (directory / "done").touch()
    found, settings = rewards(directory, count)
    ours, theirs = np.concatenate(found), np.concatenate(wanted)
    difference = np.abs(ours - theirs)
    sums = [float(a.sum() - b.sum()) for a, b in zip(found, wanted, strict=True)]
    size = sum(file.stat().st_size for file in directory.glob("*.safetensors")) / 1e6
    told = json.dumps(settings.get("quantised", {}))
    agree = float(np.corrcoef(ours, theirs)[0, 1])
    numbers = f"{difference.mean():.3f} | {difference.max():.2f} | {agree:.4f} | {np.mean(sums):+.1f}"
    return f"| {name} | {size:.0f} | {numbers} | `{told}` |"


def main() -> None:
    """Make, load and compare each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    options = parser.parse_args()
    base = options.directory / "plain"
    if not (base / "config.json").is_file():
        options.directory.mkdir(parents=True, exist_ok=True)
        plain(base)
    wanted, _ = rewards(base, options.rows)
    print("| format | MB | mean difference | largest | correlation | per response | manifest |")
    print("|---|---:|---:|---:|---:|---:|---|", flush=True)
    for name in options.formats:
        try:
            print(line(name, base, options.directory / name, options.rows, wanted), flush=True)
        except Exception as error:  # of any library: the next format is tried
            reason = (str(error).splitlines() or [""])[0][:200]
            print(f"| {name} | – | – | – | – | – | {type(error).__name__}: {reason} |", flush=True)


if __name__ == "__main__":
    main()
