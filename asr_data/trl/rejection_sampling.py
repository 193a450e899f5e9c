"""ARS (paper eq. 11) as TRL's SFTTrainer: the likelihood of what the masks keep of preferred responses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from trl import SFTTrainer
from trl.trainer import sft_trainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from asr_data.errors import ConfigError
from asr_data.trl.columns import Columns, bound, window
from asr_data.trl.helpers import column_names, one_process_first, schema_of
from asr_data.trl.weights import WeightedHead, padded_weights, require_fused_head, row_weights
from asr_data.types import Side


class AdaptiveRSTrainer(SFTTrainer):
    """``trl.SFTTrainer`` on annotated data: chosen responses of pairs, or unpaired ones with a true label.

    Where the data has ``S_weight``, each token's term counts its weight, and means divide by the sum of weights.

    The loss is :func:`asr_data.losses.adaptive_rs_loss` without its KL term, with TRL's own options: ``nll`` and
    ``dft``, packing, padding-free batches.

    Args:
        *arguments, **settings: the parent's; see ``docs/trainers.md`` for what is refused.
        column_prefix: what ``--prefix`` was when the data was annotated.
        columns: what ``--columns`` was; the check of ids needs it, and ``label`` where that column has another name.
        check_rows: how many rows of each data set are tokenised again and compared; 0 skips the check.

    Raises:
        ConfigError: data or settings with which the loss would not be the masked one.
    """

    # An attribute of the parent, which has no types.
    data_collator: Any

    def __init__(
        self,
        *arguments: Any,
        column_prefix: str = "",
        columns: Mapping[str, str] | None = None,
        check_rows: int = 16,
        **settings: Any,
    ) -> None:
        self._columns = Columns(column_prefix, columns, check_rows)
        given = bound(SFTTrainer, arguments, settings)
        args = given.get("args")
        refused = {
            "data_collator": given.get("data_collator") is not None,
            "formatting_func": given.get("formatting_func") is not None,
            "assistant_only_loss": getattr(args, "assistant_only_loss", False),
            "completion_only_loss=False": getattr(args, "completion_only_loss", None) is False,
            "skip_prepare_dataset": (getattr(args, "dataset_kwargs", None) or {}).get("skip_prepare_dataset", False),
        }
        if any(refused.values()):
            names = ", ".join(name for name, said in refused.items() if said)
            raise ConfigError(f"{names} cannot be set: the masks say which tokens are trained on")
        train_dataset = given.get("train_dataset")
        self._weighted = train_dataset is not None and self._has_weights(train_dataset)
        if self._weighted:
            _check_weighted(given)
        self._head = WeightedHead()
        self._scale: Any = None
        super().__init__(**given)
        if self._weighted:
            own = dataclasses.fields(DataCollatorForLanguageModeling)
            fields = {field.name: getattr(self.data_collator, field.name) for field in own}
            self.data_collator = WeightedCollator(**fields)
        if self._is_vision_dataset:
            raise ConfigError("data with images has no masks: it cannot be trained on here")

    def _prepare_dataset(
        self,
        dataset: Dataset | IterableDataset,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Any,
        dataset_name: str,
    ) -> Dataset | IterableDataset:
        """Masks as labels; what follows (truncation, packing) is TRL's."""
        names = column_names(dataset)
        if not {"input_ids", "labels"} <= set(names):
            dataset = dataset.with_format(None)
            side: Side = "chosen" if self._columns.has(dataset, "chosen_ids") else "completion"
            self._columns.check(dataset, [side], processing_class, dataset_name)
            if self._has_weights(dataset) != self._weighted:
                raise ConfigError(
                    f"either all data sets have S_weight columns or none; {dataset_name} differs from train"
                )
            with one_process_first():
                if side == "completion":
                    dataset = dataset.filter(self._columns.verdict, fn_kwargs={"schema": schema_of(dataset)})
                given = {"prefix": self._columns.prefix, "side": side, "weighted": self._weighted}
                dataset = dataset.map(_labelled, remove_columns=names, fn_kwargs=given)
                if self._weighted:
                    cut = window(args.max_length, args.truncation_mode)
                    dataset = dataset.map(_cut, fn_kwargs={"cut": cut})
        return super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)

    def _has_weights(self, dataset: Dataset | IterableDataset) -> bool:
        return any(self._columns.has(dataset, f"{side}_weight") for side in ("chosen", "completion"))

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns: list[str] = [*(self._signature_columns or ()), "weights"]

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """The parent's count of labels; notes what weights are multiplied by, so that it divides by their sum."""
        count = super()._get_num_items_in_batch(batch_samples, device)
        if self._weighted and count is not None:
            total = sum(batch["weights"][:, 1:].sum() for batch in batch_samples).to(device)
            if self.args.average_tokens_across_devices and self.args.world_size > 1:
                total = self.accelerator.gather(total).sum()
            self._scale = _ratio(count, total)
        return count

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """As the parent's, weighted."""
        weights = inputs.pop("weights", None)
        if weights is not None:
            kept = (inputs["labels"][:, 1:] != -100).sum()
            scale = _ratio(kept, weights[:, 1:].sum()) if num_items_in_batch is None else self._scale
            weights = weights * scale
        with self._head.on([self.accelerator.unwrap_model(model)], weights):
            return super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )


@dataclasses.dataclass
class WeightedCollator(DataCollatorForLanguageModeling):
    """TRL's collator, and ``weights``, float32 ``[rows, time]``."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows that the trainer has prepared."""
        batch: dict[str, Any] = super().torch_call(examples)
        batch["weights"] = padded_weights([row["weights"] for row in examples], self.pad_to_multiple_of)
        return batch


def _check_weighted(given: Mapping[str, Any]) -> None:
    """Refuse what would take weights for what they are not.

    Raises:
        ConfigError: names the setting, or TRL's version.
    """
    require_fused_head(sft_trainer, "S_weight columns")
    args = given.get("args")
    refused = {
        "packing": getattr(args, "packing", False),
        "padding_free": getattr(args, "padding_free", False),
        "loss_type='dft'": getattr(args, "loss_type", "nll") == "dft",
        "label_smoothing_factor": getattr(args, "label_smoothing_factor", 0.0) > 0,
        "compute_loss_func": given.get("compute_loss_func") is not None,
    }
    if any(refused.values()):
        names = ", ".join(name for name, said in refused.items() if said)
        raise ConfigError(f"{names}: drop the S_weight columns to use it")


def _ratio(count: Any, total: torch.Tensor) -> torch.Tensor:
    """The count by the sum of weights; 1 where nothing has weight."""
    return torch.as_tensor(count, device=total.device) / total.where(total > 0, total.new_ones(()))


def _labelled(row: Mapping[str, Any], prefix: str, side: Side, *, weighted: bool) -> dict[str, list[Any]]:
    prompt, ids = row[f"{prefix}prompt_ids"], row[f"{prefix}{side}_ids"]
    mask, weights = row[f"{prefix}{side}_mask"], None
    if weighted:
        weights = row_weights(
            row.get(f"{prefix}{side}_weight"), mask, f"{prefix}{side}_weight", row.get(f"{prefix}asr_row")
        )
        mask = [weight > 0 for weight in weights]
    response = [token if keep else -100 for token, keep in zip(ids, mask, strict=True)]
    made: dict[str, list[Any]] = {"input_ids": prompt + ids, "labels": [-100] * len(prompt) + response}
    return made if weights is None else made | {"weights": [0.0] * len(prompt) + weights}


def _cut(row: Mapping[str, Any], cut: slice) -> dict[str, list[float]]:
    """Weights in the window that TRL will cut ids and labels to."""
    return {"weights": row["weights"][cut]}
