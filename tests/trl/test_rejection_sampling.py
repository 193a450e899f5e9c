"""AdaptiveRSTrainer against a loss written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import AutoModelForCausalLM

from asr_data.errors import ConfigError

from .conftest import (
    assert_gradient_where_kept,
    assert_same_gradients,
    hidden_gradient,
    masked_logp,
    plain,
    token_logps,
)

trl = pytest.importorskip("trl", reason="needs trl: pip install 'asr-data[train]'")

from asr_data.trl import AdaptiveRSTrainer  # noqa: E402

# TRL 1.16 still reads the old name of transformers' setting.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def make(policy: Path, tokenizer: Any, pairs: Dataset, common: dict[str, Any]) -> Callable[..., AdaptiveRSTrainer]:
    def make(config: dict[str, Any] | None = None, **settings: Any) -> AdaptiveRSTrainer:
        settings.setdefault("train_dataset", pairs)
        model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
        args = trl.SFTConfig(**common, **(config or {}))
        return AdaptiveRSTrainer(model, args, processing_class=tokenizer, **settings)

    return make


def loss_of(trainer: AdaptiveRSTrainer) -> torch.Tensor:
    trainer.model.zero_grad()
    [batch] = trainer.get_eval_dataloader(trainer.train_dataset)
    loss: torch.Tensor = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.detach()


def by_hand(model: Any, rows: list[dict[str, Any]], side: str = "chosen") -> torch.Tensor:
    total = sum(masked_logp(model, row, side) for row in rows)
    return -total / sum(sum(row[f"{side}_mask"]) for row in rows)


def unpaired(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a response, with its verdict, chosen ones first."""
    return [
        {
            "prompt": row["prompt"],
            "completion": row[side],
            "label": side == "chosen",
            "prompt_ids": row["prompt_ids"],
            "completion_ids": row[f"{side}_ids"],
            "completion_mask": row[f"{side}_mask"],
        }
        for side in ("chosen", "rejected")
        for row in rows
    ]


def test_loss_and_gradients_are_the_masked_ones(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    trainer = make()
    other = plain(trainer.model)
    expected = by_hand(other, pair_rows)
    expected.backward()
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)


def test_masked_tokens_have_no_gradient(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    trainer = make()
    [batch] = trainer.get_eval_dataloader(trainer.train_dataset)
    for gradient, row in zip(hidden_gradient(trainer, batch), pair_rows, strict=True):
        assert_gradient_where_kept(gradient, row, "chosen")


def test_labels_by_hand(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    [batch] = make().get_eval_dataloader(make().train_dataset)
    for row, labels in zip(pair_rows, batch["labels"].tolist(), strict=True):
        ids = row["prompt_ids"] + row["chosen_ids"]
        mask = [False] * len(row["prompt_ids"]) + row["chosen_mask"]
        wanted = [token if keep else -100 for token, keep in zip(ids, mask, strict=True)]
        assert labels == wanted + [-100] * (len(labels) - len(wanted))


def test_dft_is_over_kept_tokens(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    trainer = make({"loss_type": "dft"})
    terms = []
    with torch.no_grad():
        for row in pair_rows:
            logps = token_logps(plain(trainer.model), row["prompt_ids"] + row["chosen_ids"])[len(row["prompt_ids"]) :]
            terms += [-logp * logp.exp() for logp, keep in zip(logps, row["chosen_mask"], strict=True) if keep]
    torch.testing.assert_close(loss_of(trainer), torch.stack(terms).mean(), atol=1e-7, rtol=1e-6)


def test_unpaired_data_trains_on_preferred_responses(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    rows = unpaired(pair_rows)
    assert loss_of(make(train_dataset=Dataset.from_list(rows))) == loss_of(make())
    named = Dataset.from_list([{**row, "good": str(row["label"])} for row in rows]).remove_columns(["label"])
    assert loss_of(make(train_dataset=named, columns={"label": "good"})) == loss_of(make())
    without = Dataset.from_list(rows[:5]).remove_columns(["label"])
    assert loss_of(make(train_dataset=without)) == loss_of(make())


@pytest.mark.parametrize("strategy", ["bfd", "wrapped"])
@pytest.mark.filterwarnings("ignore:Padding-free training is enabled:UserWarning")
def test_packing_trains_on_the_same_tokens(
    strategy: str, make: Callable[..., Any], pair_rows: list[dict[str, Any]]
) -> None:
    trainer = make({"packing": True, "packing_strategy": strategy, "max_length": 512})
    assert len(trainer.train_dataset) == 1
    [batch] = trainer.get_eval_dataloader(trainer.train_dataset)
    kept = sum(sum(row["chosen_mask"]) for row in pair_rows)
    assert int((batch["labels"] != -100).sum()) == kept
    if strategy == "bfd":  # documents do not see each other: the loss is the same
        torch.testing.assert_close(loss_of(trainer), by_hand(plain(trainer.model), pair_rows).detach())


def test_padding_free(make: Callable[..., Any]) -> None:
    torch.testing.assert_close(loss_of(make({"padding_free": True, "max_length": None})), loss_of(make()))


def test_rows_that_keep_nothing(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    rows = [row | {"chosen_mask": [False] * len(row["chosen_mask"])} for row in pair_rows]
    trainer = make({"max_length": None}, train_dataset=Dataset.from_list(rows))
    assert loss_of(trainer) == 0
    assert not any(p.grad is not None and p.grad.any() for p in trainer.model.parameters())


def test_streams_evaluation_and_peft(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    from peft import LoraConfig

    stream = IterableDataset.from_generator(lambda: iter(pair_rows))
    rows = Dataset.from_list(pair_rows)
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = make(train_dataset=stream, eval_dataset={"one": rows, "two": rows}, peft_config=lora)
    expected = by_hand(AutoModelForCausalLM.from_pretrained(trainer.model.config._name_or_path), pair_rows).item()
    assert trainer.evaluate()["eval_one_loss"] == pytest.approx(expected, abs=1e-5)
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(expected, abs=1e-5)
    assert trainer.evaluate(trainer.eval_dataset["two"])["eval_loss"] == pytest.approx(expected, abs=1e-5)
    trainer.train()
    assert trainer.evaluate()["eval_two_loss"] != pytest.approx(expected, abs=1e-5)


def test_what_is_refused(make: Callable[..., Any], pairs: Dataset) -> None:
    with pytest.raises(ConfigError, match="formatting_func"):
        make(formatting_func=str)
    with pytest.raises(ConfigError, match="completion_only_loss=False"):
        make({"completion_only_loss": False})
    with pytest.raises(ConfigError, match="assistant_only_loss"):
        make({"assistant_only_loss": True})
    with pytest.raises(ConfigError, match="skip_prepare_dataset"):
        make({"dataset_kwargs": {"skip_prepare_dataset": True}})
    with pytest.raises(ConfigError, match="no column completion_ids, completion_mask"):
        make(train_dataset=pairs.remove_columns(["chosen_ids"]))
    wrong = Dataset.from_list([{**row, "prompt_ids": [5, *row["prompt_ids"][1:]]} for row in pairs])
    with pytest.raises(ConfigError, match="id 0 is 5"):
        make(train_dataset=wrong)
