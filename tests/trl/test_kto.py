"""AdaptiveKTOTrainer against a loss written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import AutoModelForCausalLM

from asr_data.errors import ConfigError

from .conftest import assert_gradient_where_kept, assert_same_gradients, hidden_gradient, masked_logp, plain
from .test_rejection_sampling import unpaired

trl = pytest.importorskip("trl", reason="needs trl: pip install 'asr-data[train]'")

from asr_data.trl import AdaptiveKTOTrainer  # noqa: E402
from asr_data.trl.kto import AdaptiveUnpairedCollator  # noqa: E402

# TRL 1.16 still reads the old name of transformers' setting.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ROWS = 9
"""Of ten responses, one keeps nothing."""


@pytest.fixture
def make(policy: Path, tokenizer: Any, pairs: Dataset, common: dict[str, Any]) -> Callable[..., AdaptiveKTOTrainer]:
    """A trainer whose policy differs from its reference, with one batch of all rows."""

    def make(config: dict[str, Any] | None = None, **settings: Any) -> AdaptiveKTOTrainer:
        settings.setdefault("model", AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32))
        settings.setdefault("train_dataset", pairs)
        sizes = {"per_device_train_batch_size": ROWS, "per_device_eval_batch_size": ROWS}
        args = trl.KTOConfig(**(common | sizes | (config or {})))
        trainer = AdaptiveKTOTrainer(args=args, processing_class=tokenizer, **settings)
        with torch.no_grad():
            for number, parameter in enumerate(p for p in trainer.model.parameters() if p.requires_grad):
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        return trainer

    return make


def loss_of(trainer: AdaptiveKTOTrainer) -> torch.Tensor:
    trainer.model.zero_grad()
    [batch] = trainer.get_eval_dataloader(trainer.train_dataset)
    loss: torch.Tensor = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.detach()


def by_hand(kind: str, policy: Any, reference: Any, pair_rows: list[dict[str, Any]], beta: float = 0.1) -> torch.Tensor:
    rows = [row for row in unpaired(pair_rows) if any(row["completion_mask"])]
    mixed = [
        row | {name: rows[i - 1][name] for name in ("completion_ids", "completion_mask")} for i, row in enumerate(rows)
    ]
    with torch.no_grad():
        base = [masked_logp(reference, row, "completion") for row in rows]
        gaps = [masked_logp(policy, row, "completion") - masked_logp(reference, row, "completion") for row in mixed]
    z = torch.stack(gaps).mean().clamp(min=0) if kind == "kto" else 0.0
    losses = []
    for row, ref in zip(rows, base, strict=True):
        ratio = masked_logp(policy, row, "completion") - ref
        sign = 1 if row["label"] else -1
        losses.append(1 - torch.sigmoid(sign * beta * (ratio - z)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_loss_and_gradients_are_the_masked_ones(
    kind: str, make: Callable[..., Any], policy: Path, pair_rows: list[dict[str, Any]]
) -> None:
    trainer = make({"loss_type": kind})
    other = plain(trainer.model)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    expected = by_hand(kind, other, reference, pair_rows)
    expected.backward()
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)


def test_masked_tokens_have_no_gradient(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    trainer = make()
    [batch] = trainer.get_eval_dataloader(trainer.train_dataset)
    rows = [row for row in unpaired(pair_rows) if any(row["completion_mask"])]
    for gradient, row in zip(hidden_gradient(trainer, batch), rows, strict=True):
        assert_gradient_where_kept(gradient, row, "completion")


def test_pairs_and_unpaired_rows_are_the_same_data(
    make: Callable[..., Any], pair_rows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    rows = Dataset.from_list(unpaired(pair_rows))
    assert loss_of(make(train_dataset=rows)) == loss_of(make())
    assert "1 of 10 responses of the train data set are left out" in caplog.text
    ours = ["prompt_ids", "completion_ids", "completion_mask"]
    named = rows.rename_columns({name: f"x_{name}" for name in ours} | {"label": "good"})
    assert loss_of(make(train_dataset=named, column_prefix="x_", columns={"label": "good"})) == loss_of(make())


def test_precomputed_reference_and_peft(make: Callable[..., Any]) -> None:
    from peft import LoraConfig

    precomputed = make({"precompute_ref_log_probs": True})
    assert precomputed.ref_model is None
    torch.testing.assert_close(loss_of(precomputed), loss_of(make()), atol=1e-6, rtol=1e-6)
    adapted = make(peft_config=LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    assert adapted.ref_model is None
    adapted.train()


def test_streams_and_evaluation(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    stream = IterableDataset.from_generator(lambda: iter(pair_rows))
    rows = Dataset.from_list(pair_rows)
    trainer = make(train_dataset=stream, eval_dataset={"one": rows, "two": rows})
    expected = loss_of(make()).item()
    assert trainer.evaluate()["eval_one_loss"] == pytest.approx(expected, abs=1e-5)
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(expected, abs=1e-5)
    assert trainer.evaluate(trainer.eval_dataset)["eval_two_loss"] == pytest.approx(expected, abs=1e-5)
    trainer.train()


def test_collator_by_hand() -> None:
    rows = [
        {"prompt_ids": [1], "completion_ids": [2, 3], "kept": [True, False], "label": True,
         "KL_completion_ids": [5], "KL_kept": [True]},
        {"prompt_ids": [4], "completion_ids": [5], "kept": [True], "label": False,
         "KL_completion_ids": [2, 3], "KL_kept": [True, False]},
    ]  # fmt: skip
    batch = AdaptiveUnpairedCollator(pad_token_id=0)(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert batch["completion_mask"].tolist() == [[0, 1, 0], [0, 1, 0]]
    assert batch["KL_input_ids"].tolist() == [[1, 5, 0], [4, 2, 3]]
    assert batch["KL_completion_mask"].tolist() == [[0, 1, 0], [0, 1, 0]]
    short = AdaptiveUnpairedCollator(pad_token_id=0, max_length=2)(rows)
    assert short["completion_mask"].tolist() == [[0, 1], [0, 1]]


def test_what_is_refused(make: Callable[..., Any], pairs: Dataset, pair_rows: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="data_collator"):
        make(data_collator=AdaptiveUnpairedCollator(pad_token_id=0))
    with pytest.raises(ConfigError, match="no column rejected_mask"):
        make(train_dataset=pairs.remove_columns(["rejected_mask"]))
    with pytest.raises(ConfigError, match="no column 'label'"):
        make(train_dataset=Dataset.from_list(unpaired(pair_rows)).remove_columns(["label"]))
    with pytest.raises(ConfigError, match="is 2; a label is true, false, 1 or 0"):
        make(train_dataset=Dataset.from_list([row | {"label": 2} for row in unpaired(pair_rows)]), check_rows=0)
