"""ms-swift: the file as its 4.6 source reads it always, its own template, collator and loss where it is installed."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset, load_from_disk
from torch import Tensor

from asr_data.config import MaskConfig, SegmentWeights, SoftWeights
from asr_data.export import export
from asr_data.losses import adaptive_rs_loss
from asr_data.storage import AnnotatedDirectory
from tests.export.conftest import PAIRS, Workshop, columns, our_inputs

WEIGHTED = {
    "segment": MaskConfig(segmenter="step", baseline="sequence", weights=SegmentWeights()),  # type: ignore[arg-type]
    "soft": MaskConfig(segmenter="step", baseline="sequence", weights=SoftWeights()),  # type: ignore[arg-type] # names
}


def rows_of(annotated: AnnotatedDirectory) -> tuple[dict[str, Any], Any]:
    """The settings and what ``cached_dataset`` opens."""
    done = export(annotated, "ms-swift-sft", Path("out dir"))
    settings = yaml.safe_load((done.path / done.setup.file).read_text())
    assert done.setup.command == "swift sft 'out dir/ms-swift-sft.yaml'"
    rows = load_from_disk(settings["cached_dataset"])
    assert isinstance(rows, Dataset)
    return settings, rows


def our_loss(model: Any, annotated: AnnotatedDirectory, part: str) -> Tensor:
    """Equation 11 without KL, by the number of kept tokens: what ms-swift divides by."""
    logps, weights = our_inputs(model, columns(annotated), "chosen", part)
    return adaptive_rs_loss(logps, weights, normalizer=(weights > 0).sum())


def test_masks_are_scales_of_0_and_1(annotated: AnnotatedDirectory) -> None:
    settings, rows = rows_of(annotated)
    assert "is_binary_loss_scale" not in settings
    expected = columns(annotated)
    assert len(rows) == len(expected)
    for row, own in zip(rows, expected, strict=True):
        [message] = row["messages"]
        assert message["role"] == "assistant"
        assert message["content"]["token_ids"] == own["prompt_ids"] + own["chosen_ids"]
        assert message["content"]["loss_scale"] == [0.0] * len(own["prompt_ids"]) + [
            float(m) for m in own["chosen_mask"]
        ]
        assert row["lengths"] == [len(message["content"]["token_ids"])]
    assert settings["max_length"] == max(row["lengths"][0] for row in rows)


@pytest.mark.parametrize("rule", list(WEIGHTED))
def test_weights_are_the_scales(rule: str, workshop: Workshop) -> None:
    annotated = workshop.annotate(PAIRS, mask=WEIGHTED[rule])
    settings, rows = rows_of(annotated)
    assert settings["is_binary_loss_scale"] is False  # else ms-swift makes labels of them
    scales = [row["messages"][0]["content"]["loss_scale"] for row in rows]
    own = columns(annotated)
    assert scales == [[0.0] * len(row["prompt_ids"]) + row["chosen_weight"] for row in own]
    assert len({scale for row in scales for scale in row}) > 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule", [None, *WEIGHTED])
def test_its_own_template_collator_and_loss_give_our_loss(
    rule: str | None, annotated: AnnotatedDirectory, workshop: Workshop, model: Any, policy_directory: Path
) -> None:
    pytest.importorskip(
        "swift.template", reason="needs ms-swift 4.6: pip install ms-swift, in an environment of its own"
    )
    from swift.dataset.utils import LazyLLMDataset
    from swift.loss_scale import get_loss_scale
    from swift.model import get_processor
    from swift.template import get_template
    from swift.trainers import per_token_loss_func

    if rule:
        annotated = workshop.annotate(PAIRS, "weighted", mask=WEIGHTED[rule])
    settings, rows = rows_of(annotated)
    runpy.run_path(settings["external_plugins"])
    template = get_template(
        get_processor(str(policy_directory), model_type="llama"),
        template_type=settings["template"],
        max_length=settings["max_length"],
        is_binary_loss_scale=settings.get("is_binary_loss_scale"),
    )
    template.set_mode("train")
    assert get_loss_scale("default").is_binary_loss_scale  # so the setting is needed
    encoded = [LazyLLMDataset(rows, template.encode, strict=True)[place] for place in range(len(rows))]
    own = columns(annotated)
    assert [row["input_ids"] for row in encoded] == [row["prompt_ids"] + row["chosen_ids"] for row in own]
    batch = template.data_collator(encoded)
    outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    losses = per_token_loss_func(outputs, batch["labels"])
    if rule:
        losses = losses * torch.roll(batch["loss_scale"], shifts=-1, dims=-1).view(-1)  # as its Seq2SeqTrainer does
    else:
        assert "loss_scale" not in batch
    loss = losses.sum() / (batch["labels"] != -100).sum()
    assert loss.item() == pytest.approx(our_loss(model, annotated, "weight" if rule else "mask").item(), abs=1e-5)
