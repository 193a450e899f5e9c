"""ARS (paper eq. 11) as TRL's SFTTrainer: the likelihood of what the masks keep of preferred responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import Dataset, IterableDataset
from trl import SFTTrainer

from asr_data.errors import ConfigError
from asr_data.trl.columns import Columns, bound
from asr_data.trl.helpers import column_names, one_process_first, schema_of
from asr_data.types import Side


class AdaptiveRSTrainer(SFTTrainer):
    """``trl.SFTTrainer`` on annotated data: chosen responses of pairs, or unpaired ones with a true label.

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
        super().__init__(**given)
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
            with one_process_first():
                if side == "completion":
                    dataset = dataset.filter(self._columns.verdict, fn_kwargs={"schema": schema_of(dataset)})
                dataset = dataset.map(
                    _labelled, remove_columns=names, fn_kwargs={"prefix": self._columns.prefix, "side": side}
                )
        return super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)


def _labelled(row: Mapping[str, Any], prefix: str, side: Side) -> dict[str, list[int]]:
    prompt, ids = row[f"{prefix}prompt_ids"], row[f"{prefix}{side}_ids"]
    response = [token if keep else -100 for token, keep in zip(ids, row[f"{prefix}{side}_mask"], strict=True)]
    return {"input_ids": prompt + ids, "labels": [-100] * len(prompt) + response}
