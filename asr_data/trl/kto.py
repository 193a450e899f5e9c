"""AKTO as TRL's KTOTrainer: unpaired responses with a verdict each, over the tokens that the masks keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from datasets import Dataset, IterableDataset
from trl import KTOConfig, KTOTrainer
from trl.trainer import kto_trainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference
from trl.trainer.utils import pad

from asr_data.errors import ConfigError
from asr_data.trl.columns import PAIR, Columns, bound, kept, logger, window
from asr_data.trl.helpers import column_names, one_process_first, schema_of
from asr_data.trl.weights import WeightedHead, in_window, padded_weights, require_fused_head, row_weights
from asr_data.types import Side


@dataclasses.dataclass
class AdaptiveUnpairedCollator(DataCollatorForUnpairedPreference):
    """TRL's collator; masks multiply ``completion_mask`` and ``KL_completion_mask``, int64 ``[rows, time]``.

    Where rows have weights, ``kept_weight`` and ``KL_kept_weight`` have them, float32 ``[rows, time]``.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows that the trainer has prepared."""
        batch: dict[str, Any] = super().torch_call(examples)
        for prefix in ("", "KL_"):
            if f"{prefix}kept" in examples[0]:
                masks = [
                    torch.tensor(kept(row[f"{prefix}kept"], len(row["prompt_ids"]), window(self.max_length)))
                    for row in examples
                ]
                mask = pad(masks, padding_value=0, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of)
                batch[f"{prefix}completion_mask"] = batch[f"{prefix}completion_mask"] * mask
            if f"{prefix}weight" in examples[0]:
                weights = [
                    in_window(row[f"{prefix}weight"], len(row["prompt_ids"]), window(self.max_length))
                    for row in examples
                ]
                batch[f"{prefix}kept_weight"] = padded_weights(weights, self.pad_to_multiple_of)
        return batch


class AdaptiveKTOTrainer(KTOTrainer):
    """``trl.KTOTrainer`` on annotated data, unpaired or pairs, which become two rows each.

    Every argument of the parent works as there, but ``data_collator``. The KL estimate is over the kept tokens too:
    it is what the rewards are compared with. Responses with nothing left to train on are left out. ``S_ref_logp``
    columns are not used: the KL estimate needs the reference's log-probabilities of mismatched responses too.

    Args:
        *arguments, **settings: the parent's.
        column_prefix: what ``--prefix`` was when the data was annotated.
        columns: what ``--columns`` was; the check of ids needs it, and ``label`` where that column has another name.
        check_rows: how many rows of each data set are tokenised again and compared; 0 skips the check.

    Raises:
        ConfigError: data or settings with which the loss would not be the masked one.
    """

    # Attributes of the parent, which has no types.
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
        self._head = WeightedHead()
        self._kl_weights: torch.Tensor | None = None
        given = bound(KTOTrainer, arguments, settings)
        if given.get("data_collator") is not None:
            raise ConfigError("data_collator cannot be set: the trainer's own applies the masks")
        train_dataset, args = given.get("train_dataset"), given.get("args")
        if train_dataset is not None and self._has_weights(train_dataset):
            require_fused_head(kto_trainer, "S_weight columns")
            if getattr(args, "precompute_ref_log_probs", False):
                raise ConfigError("precompute_ref_log_probs: drop the S_weight columns to use it")
        super().__init__(**given)
        self._adapt_collator()

    def _has_weights(self, dataset: Dataset | IterableDataset) -> bool:
        return any(self._columns.has(dataset, f"{side}_weight") for side in (*PAIR, "completion"))

    def _adapt_collator(self) -> None:
        base = self.data_collator
        if isinstance(base, AdaptiveUnpairedCollator):
            return
        if type(base) is not DataCollatorForUnpairedPreference:
            raise ConfigError("data with images has no masks: it cannot be trained on here")
        fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
        self.data_collator = AdaptiveUnpairedCollator(**fields)

    def _prepare_dataset(
        self, dataset: Dataset | IterableDataset, processing_class: Any, args: KTOConfig, dataset_name: str
    ) -> Dataset | IterableDataset:
        """Unpaired rows of ids, masks and labels, in TRL's order, and TRL's mismatched responses beside them."""
        names = column_names(dataset)
        if "kept" in names and "completion_ids" in names:
            return dataset  # prepared already
        dataset = dataset.with_format(None)
        sides: tuple[Side, ...] = PAIR if self._columns.has(dataset, "chosen_ids") else ("completion",)
        self._columns.check(dataset, sides, processing_class, dataset_name)
        if sides != PAIR and self._columns.label not in names:
            raise ConfigError(
                f"the {dataset_name} data set has no column {self._columns.label!r}: whether a response is good"
            )
        batch_size = args.per_device_train_batch_size
        with one_process_first():
            rows = dataset.map(
                _unpaired,
                batched=True,
                remove_columns=names,
                fn_kwargs={"columns": self._columns, "sides": sides, "schema": schema_of(dataset)},
            )
            left = rows.filter(_is_trained_on, fn_kwargs={"max_length": args.max_length})
            if isinstance(rows, Dataset) and len(left) < len(rows):
                lost = len(rows) - len(left)
                logger.warning(
                    "%d of %d responses of the %s data set are left out: nothing is kept of them, or it lies "
                    "beyond max_length",
                    lost,
                    len(rows),
                    dataset_name,
                )
            if self.calculate_KL:
                left = left.map(_mismatched, batched=True, batch_size=batch_size)
        return left

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns: list[str] = [
                *(self._signature_columns or ()),
                "kept",
                "KL_kept",
                "weight",
                "KL_weight",
            ]

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any], return_outputs: bool) -> Any:
        batch = dict(inputs)
        weights, self._kl_weights = batch.pop("kept_weight", None), batch.pop("KL_kept_weight", None)
        with self._head.on([self._unwrapped(model), self._unwrapped(getattr(self, "ref_model", None))], weights):
            return super()._compute_loss(model, batch, return_outputs)

    def _compute_kl_logps(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """The parent's, by the weights of the mismatched responses alone."""
        with self._head.batch(self._kl_weights):
            return super()._compute_kl_logps(model, batch)

    def _unwrapped(self, model: Any) -> Any:
        return None if model is None else self.accelerator.unwrap_model(model)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        self._adapt_collator()  # called from the parent's constructor too
        return super()._precompute_ref_logps(dataset, name, batch_size)


def _unpaired(
    batch: Mapping[str, list[Any]], columns: Columns, sides: Sequence[Side], schema: pa.Schema | None
) -> dict[str, list[Any]]:
    """Chosen responses of the batch, then rejected ones, as TRL unpairs; or unpaired rows as they are."""
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    out: dict[str, list[Any]] = {"prompt_ids": [], "completion_ids": [], "kept": [], "label": []}
    if f"{columns.prefix}{sides[0]}_weight" in batch:
        out["weight"] = []
    for side in sides:
        for row in rows:
            out["prompt_ids"].append(row[columns.prefix + "prompt_ids"])
            out["completion_ids"].append(row[f"{columns.prefix}{side}_ids"])
            mask = row[f"{columns.prefix}{side}_mask"]
            if "weight" in out:
                name = f"{columns.prefix}{side}_weight"
                weights = row_weights(row.get(name), mask, name, row.get(f"{columns.prefix}asr_row"))
                mask = [weight > 0 for weight in weights]
                out["weight"].append(weights)
            out["kept"].append(mask)
            out["label"].append(columns.verdict(row, schema) if side == "completion" else side == "chosen")
    return out


def _is_trained_on(row: Mapping[str, Any], max_length: int | None) -> bool:
    return any(kept(row["kept"], len(row["prompt_ids"]), window(max_length)))


def _mismatched(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Each prompt with the response of the row before it in the batch, as TRL pairs them for its KL estimate."""
    names = [name for name in ("completion_ids", "kept", "weight") if name in batch]
    return {f"KL_{name}": [batch[name][-1], *batch[name][:-1]] for name in names}
