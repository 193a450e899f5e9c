"""LLaMA-Factory: its documented reading of ``tokenized_path`` always, the program itself where it is installed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import DatasetDict, load_from_disk
from torch import Tensor
from torch.nn.functional import logsigmoid

from asr_data.export import Target, export
from asr_data.losses import adaptive_dpo_loss, adaptive_kto_loss, adaptive_rs_loss
from asr_data.storage import AnnotatedDirectory
from tests.export.conftest import columns, log_probabilities, our_inputs, padded

BETA = 0.1


def saved(annotated: AnnotatedDirectory, target: Target) -> Any:
    """What ``tokenized_path`` gives: a saved DatasetDict, of which ``train`` is used."""
    export(annotated, target, Path("out"))
    loaded = load_from_disk("out")
    assert isinstance(loaded, DatasetDict)
    return loaded["train"]


def summed(model: Any, rows: Any, prefix: str = "") -> Tensor:
    """Sums ``[batch]`` of log-probabilities where a shifted label is not −100, right-padded in one batch."""
    batch = {
        name: padded([torch.tensor(row[f"{prefix}{name}"]) for row in rows]) for name in ("input_ids", "attention_mask")
    }
    labels = padded([torch.tensor(row[f"{prefix}labels"]) + 100 for row in rows])[:, 1:] - 100  # padding: −100
    logps = model(**batch).logits[:, :-1].log_softmax(-1)
    return (logps.gather(2, labels.clamp(min=0)[:, :, None])[:, :, 0] * (labels != -100)).sum(dim=1)


def our_dpo_loss(model: Any, reference: Any, rows: Sequence[dict[str, Any]]) -> Tensor:
    given = {}
    for side in ("chosen", "rejected"):
        given[f"{side}_logps"], given[f"{side}_mask"] = our_inputs(model, rows, side)
        given[f"reference_{side}_logps"] = our_inputs(reference, rows, side)[0]
    return adaptive_dpo_loss(**given, beta=BETA)


def our_kto_loss(model: Any, reference: Any, rows: Sequence[dict[str, Any]]) -> Tensor:
    """Both sides of every pair; the KL from each prompt with the row before's response (the first row: the next's)."""
    logps, references, masks, verdicts, kls = [], [], [], [], []
    for place, row in enumerate(rows):
        other = rows[place - 1] if place else rows[1]
        for side in ("chosen", "rejected"):
            logps.append(log_probabilities(model, row["prompt_ids"], row[f"{side}_ids"]))
            references.append(log_probabilities(reference, row["prompt_ids"], row[f"{side}_ids"]))
            masks.append(torch.tensor(row[f"{side}_mask"]))
            verdicts.append(side == "chosen")
            mismatched = [log_probabilities(m, row["prompt_ids"], other[f"{side}_ids"]) for m in (model, reference)]
            kls.append(((mismatched[0] - mismatched[1]) * torch.tensor(other[f"{side}_mask"])).sum())
    kl = torch.stack(kls).mean().clamp(min=0).detach()
    batch = (padded(logps), padded(references), padded(masks), torch.tensor(verdicts))
    return adaptive_kto_loss(*batch, kl=kl, beta=BETA)


def our_sft_loss(model: Any, rows: Sequence[dict[str, Any]]) -> Tensor:
    return adaptive_rs_loss(*our_inputs(model, rows, "chosen"))


def test_dpo_columns_and_loss(annotated: AnnotatedDirectory, model: Any, reference: Any) -> None:
    rows = saved(annotated, "llamafactory-dpo")
    names = ("input_ids", "attention_mask", "labels")
    assert rows.column_names == [
        *(f"{side}_{name}" for side in ("chosen", "rejected") for name in names), "images", "videos", "audios",
    ]  # fmt: skip
    assert rows["images"][:] == rows["videos"][:] == rows["audios"][:] == [None] * 4
    ratios = [summed(model, rows, f"{side}_") - summed(reference, rows, f"{side}_") for side in ("chosen", "rejected")]
    loss = -logsigmoid(BETA * (ratios[0] - ratios[1])).mean()
    assert loss.item() == pytest.approx(our_dpo_loss(model, reference, columns(annotated)).item(), abs=1e-6)


def test_masked_tokens_get_no_gradient(annotated: AnnotatedDirectory, model: Any) -> None:
    """The logits that predict a masked token, and no others, have a gradient of exactly zero."""
    rows = saved(annotated, "llamafactory-dpo")
    seen: list[Tensor] = []

    def keep(_: Any, __: Any, logits: Tensor) -> None:
        logits.retain_grad()
        seen.append(logits)

    model.lm_head.register_forward_hook(keep)
    summed(model, rows, "rejected_").sum().backward()
    for place, row in enumerate(columns(annotated)):
        start = len(row["prompt_ids"]) - 1
        gradient = seen[0].grad[place, start : start + len(row["rejected_mask"])].abs().sum(dim=-1)
        assert (gradient != 0).tolist() == row["rejected_mask"]


def test_kto_columns_and_loss(annotated: AnnotatedDirectory, model: Any, reference: Any) -> None:
    rows = saved(annotated, "llamafactory-kto")
    names = ("input_ids", "attention_mask", "labels")
    assert rows.column_names == [*names, *(f"kl_{name}" for name in names), "kto_tags", "images", "videos", "audios"]
    assert rows["kto_tags"][:] == [True, False] * 4
    assert all(row["input_ids"] != row["kl_input_ids"] for row in rows)
    ratios, kl_ratios = (summed(model, rows, p) - summed(reference, rows, p) for p in ("", "kl_"))
    z = kl_ratios.mean().clamp(min=0).detach()
    tags = torch.tensor(rows["kto_tags"][:])
    loss = torch.where(tags, 1 - (BETA * (ratios - z)).sigmoid(), 1 - (BETA * (z - ratios)).sigmoid()).mean()
    assert loss.item() == pytest.approx(our_kto_loss(model, reference, columns(annotated)).item(), abs=1e-6)


def test_sft_columns_and_loss(annotated: AnnotatedDirectory, model: Any) -> None:
    rows = saved(annotated, "llamafactory-sft")
    assert rows.column_names == ["input_ids", "attention_mask", "labels", "images", "videos", "audios"]
    kept = sum(label != -100 for row in rows for label in row["labels"])
    loss = -summed(model, rows).sum() / kept
    assert loss.item() == pytest.approx(our_sft_loss(model, columns(annotated)).item(), abs=1e-6)


@pytest.mark.parametrize("target", ["llamafactory-dpo", "llamafactory-kto", "llamafactory-sft"])
def test_the_program_itself_trains_with_our_loss(
    annotated: AnnotatedDirectory,
    model: Any,
    reference: Any,
    target: Target,
    policy_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The printed configuration, with a full policy, a reference of its own and one step over all rows."""
    pytest.importorskip(
        "llamafactory", reason="needs LLaMA-Factory 0.9.5: pip install llamafactory, in an environment of its own"
    )
    from llamafactory.train.tuner import run_exp
    from transformers import Trainer

    done = export(annotated, target, Path("out"))
    shutil.copytree(policy_directory, tmp_path / "reference")
    reference.save_pretrained(tmp_path / "reference")
    settings = yaml.safe_load(done.setup.text)
    settings |= {"finetuning_type": "full", "output_dir": str(tmp_path / "saves"), "max_steps": 1,
                 "learning_rate": 0.0, "per_device_train_batch_size": 8, "use_cpu": True, "report_to": "none",
                 "save_strategy": "no", "disable_gradient_checkpointing": True, "infer_dtype": "float32"}  # fmt: skip
    if not target.endswith("sft"):
        settings["ref_model"] = str(tmp_path / "reference")
    losses: list[float] = []
    training_step = Trainer.training_step

    def recorded(*args: Any, **kwargs: Any) -> Any:
        losses.append(float(training_step(*args, **kwargs)))
        return torch.tensor(losses[-1])

    monkeypatch.setattr(Trainer, "training_step", recorded)
    run_exp(settings)
    rows = columns(annotated)
    ours = {
        "llamafactory-dpo": lambda: our_dpo_loss(model, reference, rows),
        "llamafactory-kto": lambda: our_kto_loss(model, reference, rows),
        "llamafactory-sft": lambda: our_sft_loss(model, rows),
    }[target]()
    assert losses == [pytest.approx(ours.item(), abs=1e-5)]
