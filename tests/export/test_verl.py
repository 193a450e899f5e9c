"""verl: the data set class that comes with the export, and verl's own trainer parts where it is installed."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_data.config import MaskConfig, SegmentWeights
from asr_data.export import export
from asr_data.losses import adaptive_rs_loss
from asr_data.storage import AnnotatedDirectory
from tests.export.conftest import PAIRS, Workshop, columns, our_inputs


def overrides(text: str) -> dict[str, str]:
    """The settings of the printed command."""
    return dict(word.split("=", 1) for word in shlex.split(text.replace("\\\n", " ")) if re.match(r"[a-z_.]+=", word))


def masked_rows(settings: dict[str, str], **config: Any) -> Any:
    """The class loaded from its file, as verl does it."""
    spec = importlib.util.spec_from_file_location("masked_sft_dataset", settings["data.custom_cls.path"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = {"pad_mode": settings["data.pad_mode"], "max_length": int(settings["data.max_length"]), **config}
    made = getattr(module, settings["data.custom_cls.name"])
    return made(
        parquet_files=settings["data.train_files"], tokenizer=None, config=config, processor=None, max_samples=-1
    )


def next_token_logps(model: Any, row: dict[str, Tensor]) -> Tensor:
    """float ``[time]``: at each position the log-probability of the token after it; the last is of no use."""
    ids = row["input_ids"][None]
    logits = model(input_ids=ids, position_ids=row["position_ids"][None]).logits.log_softmax(-1)
    return logits[0].gather(1, ids[0].roll(-1)[:, None])[:, 0]


def weighted_masks() -> MaskConfig:
    return MaskConfig(segmenter="step", baseline="sequence", weights=SegmentWeights())  # type: ignore[arg-type] # names


def our_loss(model: Any, annotated: AnnotatedDirectory) -> Tensor:
    return adaptive_rs_loss(*our_inputs(model, columns(annotated), "chosen"))


def test_rows_and_loss(annotated: AnnotatedDirectory, model: Any) -> None:
    """verl's SFT loss: minus the sum where the mask, moved left by one over the whole batch, is 1, by its sum."""
    done = export(annotated, "verl-sft", Path("out dir"))
    rows = [row for row in masked_rows(overrides(done.setup.text))]  # noqa: C416 - by index and length, as verl does
    assert [row["input_ids"].tolist() for row in rows] == [
        row["prompt_ids"] + row["chosen_ids"] for row in columns(annotated)
    ]
    logps = torch.cat([next_token_logps(model, row) for row in rows])
    mask = torch.cat([row["loss_mask"] for row in rows])
    loss = -(logps * mask.roll(-1)).sum() / mask.sum()
    assert loss.item() == pytest.approx(our_loss(model, annotated).item(), abs=1e-6)


def test_the_class_refuses_what_it_cannot_do(annotated: AnnotatedDirectory) -> None:
    settings = overrides(export(annotated, "verl-sft", Path("out")).setup.text)
    assert len(masked_rows(settings)) == 4
    with pytest.raises(ValueError, match="no_padding"):
        masked_rows(settings, pad_mode="right")
    with pytest.raises(ValueError, match=r"row 0 has \d+ tokens"):
        masked_rows(settings, max_length=5)[0]


def test_weights_are_the_loss_mask(workshop: Workshop, model: Any) -> None:
    annotated = workshop.annotate(PAIRS, mask=weighted_masks())
    done = export(annotated, "verl-sft", Path("out"))
    rows = [row for row in masked_rows(overrides(done.setup.text))]  # noqa: C416 - by index and length, as verl does
    weights = [row["chosen_weight"] for row in columns(annotated)]
    assert [row["loss_mask"].tolist()[-len(own) :] for row, own in zip(rows, weights, strict=True)] == weights
    assert {row["loss_mask"].dtype for row in rows} == {torch.float32}
    assert len({weight for own in weights for weight in own}) > 2
    logps = torch.cat([next_token_logps(model, row) for row in rows])
    mask = torch.cat([row["loss_mask"] for row in rows])
    loss = -(logps.where(mask.roll(-1).bool(), logps.new_zeros(())) * mask.roll(-1)).sum() / mask.sum()
    expected = adaptive_rs_loss(*our_inputs(model, columns(annotated), "chosen", "weight"))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weights", [False, True])
def test_its_own_data_set_collator_and_loss_give_our_loss(
    weights: bool, annotated: AnnotatedDirectory, workshop: Workshop, model: Any
) -> None:
    pytest.importorskip("verl", reason="needs verl 0.9: pip install verl, in an environment of its own")
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from verl.trainer.sft_trainer import create_sft_dataset
    from verl.utils import tensordict_utils as tu
    from verl.utils.dataset.dataset_utils import SFTTensorCollator
    from verl.workers.utils.losses import sft_loss

    if weights:
        annotated = workshop.annotate(PAIRS, "weighted", mask=weighted_masks())
    done = export(annotated, "verl-sft", Path("out"))
    config = OmegaConf.from_dotlist([f"{name}={value}" for name, value in overrides(done.setup.text).items()]).data
    rows = create_sft_dataset([config.train_files], config, tokenizer=None, processor=None)
    items = [rows[place] for place in range(len(rows))]
    batch = SFTTensorCollator(config.pad_mode)(items)
    logps = torch.nested.as_nested_tensor([next_token_logps(model, row) for row in items], layout=torch.jagged)
    data = TensorDict(dict(batch), batch_size=[len(items)])
    tu.assign_non_tensor(
        data, dp_size=1, batch_num_tokens=batch["loss_mask"].values().sum().item(), pad_mode=config.pad_mode
    )
    loss, _ = sft_loss(None, {"log_probs": logps}, data)
    expected = adaptive_rs_loss(*our_inputs(model, columns(annotated), "chosen", "weight" if weights else "mask"))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
