"""Decoders over several devices: here the CPU and the disk."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, MissingDependencyError, ScorerError
from asr_data.scoring import spread
from asr_data.scoring.engine import TREE
from asr_data.scoring.load import load_scorer
from asr_data.scoring.reference import load_reference
from asr_data.text.align import align
from asr_data.types import Completion, Row

MakeCheckpoint = Callable[..., Path]
PLAIN = ScoringConfig(dtype="float32")
HALF_ON_DISK: dict[str, int | str] = {"embed_tokens": "cpu", "layers.0": "cpu", "": "disk"}
HEAD = {"score.weight": torch.randn(1, 32, generator=torch.Generator().manual_seed(0))}
ROWS = [
    Row(
        number,
        {},
        [{"role": "user", "content": "Two and two?"}],
        (
            Completion("chosen", [{"role": "assistant", "content": "The answer is four."}], preferred=True),
            Completion("rejected", [{"role": "assistant", "content": "The answer is all there is."}], preferred=False),
        ),
    )
    for number in range(3)
]


@pytest.fixture
def checkpoint(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> Path:
    return make_checkpoint(tmp_path / "m", HEAD, {"kind": "token_head"})


def over(devices: Any, **more: Any) -> ScoringConfig:
    return ScoringConfig(dtype="float32", device_map=devices, **more)


def rewards(scorer: Any) -> list[Any]:
    answers = scorer.score(ROWS)
    assert all(isinstance(answer, tuple) for answer in answers)
    return [side.span_reward for answer in answers for side in answer]


def assert_same(found: Sequence[Any], wanted: Sequence[Any]) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_rewards_are_those_of_one_device(checkpoint: Path, tmp_path: Path) -> None:
    scorer: Any = load_scorer(checkpoint, scoring=over(HALF_ON_DISK), offload_folder=tmp_path / "offload")
    assert scorer.runner.attention == TREE
    on_disk = [name for name, p in scorer.runner.backbone.named_parameters() if p.device.type == "meta"]
    assert on_disk == [
        name for name, _ in scorer.runner.backbone.named_parameters() if "layers.1" in name or name == "norm.weight"
    ]
    assert {path.stem for path in (tmp_path / "offload").glob("*/*.safetensors")} == set(on_disk)
    assert_same(rewards(scorer), rewards(load_scorer(checkpoint, scoring=PLAIN)))
    parts = {"layers.1": "disk", "norm": "disk", "rotary_emb": "disk"}
    assert scorer.info.settings["device_map"] == {"embed_tokens": "cpu", "layers.0": "cpu", **parts}
    assert scorer.info.settings["device"] == "cpu"


def test_names_as_in_a_whole_model(checkpoint: Path) -> None:
    devices = {f"model.{name}": device for name, device in HALF_ON_DISK.items() if name} | {"": "disk"}
    assert_same(
        rewards(load_scorer(checkpoint, scoring=over(devices))), rewards(load_scorer(checkpoint, scoring=PLAIN))
    )


@pytest.mark.parametrize("tied", [False, True])
def test_log_probabilities_with_everything_but_a_layer_on_disk(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, tied: bool
) -> None:
    directory = make_checkpoint(tmp_path / "lm")
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    (directory / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}), encoding="utf-8")
    if not tied:
        tensors = load_file(directory / "model.safetensors")
        head = tensors["model.embed_tokens.weight"].flip(0).contiguous()
        save_file({**tensors, "lm_head.weight": head}, directory / "model.safetensors")
    plain = load_reference(directory, PLAIN)
    offloaded = load_reference(directory, over({"layers.0": "cpu", "": "disk"}), offload_folder=tmp_path / "offload")
    aligned = [align(row, plain.tokenizer) for row in ROWS]
    wanted, found = plain.log_probabilities(aligned), offloaded.log_probabilities(aligned)
    assert_same([x for row in found for x in row or ()], [x for row in wanted for x in row or ()])


def test_auto_puts_on_disk_what_fits_nowhere(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "free_memory", lambda: {"cpu": 120_000})
    scorer: Any = load_scorer(checkpoint, scoring=over("auto"), offload_folder=tmp_path / "offload")
    assert set(scorer.info.settings["device_map"].values()) == {"cpu", "disk"}
    assert_same(rewards(scorer), rewards(load_scorer(checkpoint, scoring=PLAIN)))


def test_auto_where_all_fits(checkpoint: Path) -> None:
    scorer = load_scorer(checkpoint, scoring=over("auto"))
    assert "device_map" not in scorer.info.settings
    assert_same(rewards(scorer), rewards(load_scorer(checkpoint, scoring=PLAIN)))


def test_most_of_free_memory_is_for_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: {0: 1000, "cpu": 3000})
    assert spread.free_memory() == {0: 900, "cpu": 2700}


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (
            {"layers.7": "cpu", "": "cpu"},
            r"names 'layers\.7', which is no layer of this model; its parts are embed",
        ),
        ({"decoder.block": "cpu"}, r"no layer of this model; .* such as layers\.0"),
        ({"layers": "cpu"}, r"no device for embed_tokens\.weight, norm\.weight; \"\" stands for all"),
        ({"layers.0": "cpu"}, r"no device for embed_tokens\.weight, layers\.1\..* and \d+ more"),
        ({"": 0}, r"puts '' on 0; here are cpu and disk: there is no GPU"),
        ({"": "cuda:1"}, r"on 'cuda:1'; here are cpu and disk"),
        ({"": "tpu"}, r"on 'tpu'"),
        ({"": "disk"}, r"every layer on disk"),
    ],
    ids=str,
)
def test_a_map_that_does_not_fit(checkpoint: Path, devices: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        load_scorer(checkpoint, scoring=over(devices))


@pytest.mark.parametrize(
    ("device", "wanted"), [(0, 0), ("cuda", 0), ("cuda:1", 1), ("cpu", "cpu"), ("disk", "disk")], ids=str
)
def test_gpus_go_by_number(device: Any, wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    assert spread.checked_map({"0": 0, "1": device}, model) == ({"": 0} if wanted == 0 else {"0": 0, "1": wanted})
    for wrong in (2, -1, True, "cuda:2", "cuda:x", "gpu"):
        with pytest.raises(ConfigError, match="here are 0 to 1, cpu and disk"):
            spread.checked_map({"": wrong}, model)


def test_a_layer_runs_on_one_device(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    model: Any = load_scorer(checkpoint, scoring=ScoringConfig(dtype="float32", device="cpu")).runner.backbone  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"splits layers\.1 over \['0', '1'\]: a layer is on one device"):
        spread.checked_map({"layers.1.mlp": 1, "": 0}, model)
    # What is offloaded runs on the first GPU.
    assert spread.checked_map({"layers.1.mlp": "cpu", "": 0}, model)["layers.1.mlp"] == "cpu"
    assert spread.checked_map({"layers.1": 1, "": 0}, model) == {
        "embed_tokens": 0,
        "layers.0": 0,
        "layers.1": 1,
        "norm": 0,
        "rotary_emb": 0,
    }


def test_a_full_offload_directory(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match=r"--offload-dir .*offload is full: 0\.0 GB of weights go to disk"):
        load_scorer(checkpoint, scoring=over(HALF_ON_DISK), offload_folder=tmp_path / "offload")
    assert list((tmp_path / "offload").iterdir()) == []


def test_an_offload_directory_that_cannot_be_written(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"--offload-dir .*file.* cannot be written"):
        load_scorer(checkpoint, scoring=over(HALF_ON_DISK), offload_folder=tmp_path / "file" / "x")


def test_an_adapter_needs_weights_that_are_there(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    from peft import LoraConfig, get_peft_model

    from asr_data.scoring.backbone import load_backbone
    from asr_data.scoring.config import TokenHeadConfig
    from asr_data.scoring.quiet import quiet_transformers

    directory = make_checkpoint(tmp_path / "m", HEAD, {"kind": "token_head", "adapter": "adapter"})
    plain, _ = load_backbone(TokenHeadConfig(), directory)
    with quiet_transformers():
        get_peft_model(plain, LoraConfig(r=2, target_modules=["up_proj"])).save_pretrained(str(directory / "adapter"))
    with pytest.raises(ScorerError, match="an adapter cannot be merged into weights that --device-map offloads"):
        load_scorer(directory, scoring=over(HALF_ON_DISK), offload_folder=tmp_path / "offload")


def test_options_that_contradict_each_other(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device cpu and --device-map both say"):
        load_scorer(checkpoint, scoring=over("auto", device="cpu"))
    with pytest.raises(ConfigError, match="--offload-dir is for what --device-map puts on disk"):
        load_scorer(checkpoint, scoring=PLAIN, offload_folder=tmp_path)
    with pytest.raises(ConfigError, match="--device-map is for models of files of their own"):
        load_scorer("builtin", scoring=over("auto"))


def test_accelerate_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "accelerate" else found(name, *a))
    with pytest.raises(MissingDependencyError, match=r"'accelerate'.*pip install 'asr-data\[large\]'"):
        load_scorer(checkpoint, scoring=over("auto"))


def test_the_weight_on_disk_is_found(checkpoint: Path) -> None:
    scorer: Any = load_scorer(checkpoint, scoring=over({"layers": "cpu", "": "disk"}))
    embedding = scorer.runner.backbone.get_input_embeddings()
    assert embedding.weight.device.type == "meta"
    plain: Any = load_scorer(checkpoint, scoring=PLAIN)
    wanted: Tensor = plain.runner.backbone.get_input_embeddings().weight
    assert torch.equal(spread.weight_of(embedding), wanted.detach())
