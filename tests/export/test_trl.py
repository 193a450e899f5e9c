"""TRL's own command reads the export through the printed configuration, and trains with our loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr_data.export import export
from asr_data.losses import adaptive_rs_loss
from asr_data.storage import AnnotatedDirectory
from tests.export.conftest import columns, our_inputs

sft = pytest.importorskip("trl.scripts.sft", reason="needs trl: pip install 'asr-data[train]'")


def step_losses(monkeypatch: pytest.MonkeyPatch, configuration: str, *more: str) -> list[float]:
    """The losses of the steps that ``trl sft --config …`` takes."""
    from transformers import Trainer

    losses: list[float] = []
    training_step = Trainer.training_step

    def recorded(*args: Any, **kwargs: Any) -> Any:
        loss = training_step(*args, **kwargs)
        losses.append(float(loss))
        return loss

    monkeypatch.setattr(Trainer, "training_step", recorded)
    words = ["--config", configuration, "--max_steps", "1", "--learning_rate", "0", "--use_cpu", "--bf16", "false"]
    words += [
        "--report_to",
        "none",
        "--save_strategy",
        "no",
        "--per_device_train_batch_size",
        "4",
        "--dtype",
        "float32",
    ]
    words += ["--gradient_checkpointing", "false", *more]
    sft.main(*sft.make_parser().parse_args_and_config(words))
    return losses


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("more", [(), ("--packing", "--padding_free", "false")])
def test_the_command_trains_with_our_loss(
    annotated: AnnotatedDirectory, model: Any, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    export(annotated, "trl-sft", Path("out"))
    ours = adaptive_rs_loss(*our_inputs(model, columns(annotated), "chosen"))
    assert step_losses(monkeypatch, "out/trl-sft.yaml", *more) == [pytest.approx(ours.item(), abs=1e-5)]


@pytest.mark.filterwarnings("ignore")
def test_the_command_reads_the_tokens_as_they_are(annotated: AnnotatedDirectory, model: Any) -> None:
    """Rows longer than TRL's default of 1024 tokens too."""
    import yaml
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    def longer(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] * 40 for name in ("input_ids", "labels")}

    done = export(annotated, "trl-sft", Path("out"))
    rows = load_dataset("out", split="train").map(longer)
    settings = yaml.safe_load(done.setup.text)
    arguments = SFTConfig(output_dir="saves", max_length=40 * settings["max_length"], use_cpu=True, bf16=False)
    trainer = SFTTrainer(model, arguments, train_dataset=rows)
    assert max(map(len, rows["input_ids"])) > 1024
    for name in ("input_ids", "labels"):
        assert trainer.train_dataset[name][:] == rows[name][:]
