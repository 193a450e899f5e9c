"""ADPO (paper eq. 10) as TRL's DPOTrainer: every loss type of TRL's over the tokens that the masks keep."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher
from torch import Tensor
from trl import DPOConfig, DPOTrainer
from trl.trainer import dpo_trainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import get_config_model_id, pad

from asr_data.errors import ConfigError
from asr_data.trl.columns import PAIR, Columns, bound, kept, usable, window
from asr_data.trl.shared_prefix import share_prefixes
from asr_data.trl.weights import (
    WeightedHead,
    aligned,
    in_window,
    padded_weights,
    require_fused_head,
    row_weights,
    with_mean_1,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTS = ("ids", "mask", "ref_logp", "weight")
_MEANS = ("ipo", "sigmoid_norm")
"""Loss types of TRL's that divide each response's sum by its number of tokens."""
_WITHOUT_WEIGHTS = ("sft", "ld_alpha", "use_weighting")
_PRECOMPUTED = ("ref_chosen_logps", "ref_rejected_logps")
"""What TRL's own precomputing adds to a data set."""


@dataclasses.dataclass
class AdaptivePreferenceCollator(DataCollatorForPreference):
    """TRL's collator with the masks of annotated rows multiplied into ``completion_mask``.

    ``completion_mask`` is int64 ``[2·pairs, time]``, chosen before rejected, 1 where a token is trained on. Reference
    log-probabilities (``S_ref_logp``) become ``ref_chosen_logps`` and ``ref_rejected_logps``, float32 ``[pairs]``:
    sums over the same tokens. Where rows have ``S_weight``, tokens of weight 0 are masked, sums of the reference are
    weighted, and ``kept_weight``, float32 ``[2·pairs, time]``, has the weights.

    Attributes:
        prefix: before the names of the columns.
        detach: leave ``completion_mask`` as TRL makes it, sum the reference over it, and give the product as
            ``kept_mask``.
        means: weights have a mean of 1 in each response, for losses that are means.
    """

    prefix: str = ""
    detach: bool = False
    means: bool = False

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows; see the class."""
        rows = [self._own(row) for row in examples]
        batch: dict[str, Any] = super().torch_call(rows)
        cut = window(self.max_length, self.truncation_mode)
        if any("chosen_weight" in row for row in rows):
            batch["kept_weight"] = self._weights(rows, cut)
        masks = [torch.tensor(kept(row[f"{side}_mask"], len(row["prompt_ids"]), cut)) for side in PAIR for row in rows]
        mask = pad(masks, padding_value=0, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of).long()
        if self.detach:
            batch["kept_mask"] = batch["completion_mask"] * mask
        else:
            batch["completion_mask"] = batch["completion_mask"] * mask
        for number, side in enumerate(PAIR):
            if f"{side}_ref_logp" in rows[0]:
                weights = batch["kept_weight"].chunk(2)[number] if "kept_weight" in batch and not self.detach else None
                sums = [
                    self._reference(row, side, cut, None if weights is None else weights[place].tolist())
                    for place, row in enumerate(rows)
                ]
                batch[f"ref_{side}_logps"] = torch.tensor(sums)
        return batch

    def _weights(self, rows: list[dict[str, Any]], cut: slice) -> Tensor:
        """Checked weights of all responses; a token of weight 0 is masked in ``rows``."""
        listed = []
        for side in PAIR:
            for row in rows:
                column = f"{self.prefix}{side}_weight"
                weights = row_weights(row.get(f"{side}_weight"), row[f"{side}_mask"], column, row.get("asr_row"))
                row[f"{side}_mask"] = [weight > 0 for weight in weights]
                listed.append(in_window(weights, len(row["prompt_ids"]), cut))
        found = padded_weights(listed, self.pad_to_multiple_of)
        return with_mean_1(found) if self.means else found

    def _own(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's columns that are used, under the names that TRL's collator knows."""
        own = {name: row[name] for name in _PRECOMPUTED if name in row} | {
            "prompt_ids": row[self.prefix + "prompt_ids"],
            "asr_row": row.get(self.prefix + "asr_row"),
        }
        for side in PAIR:
            for part in _PARTS:
                name = f"{side}_{part}"
                if self.prefix + name not in row or (part == "weight" and row[self.prefix + name] is None):
                    continue  # row_weights says that weights are missing, where others have them
                own[name] = row[self.prefix + name]
                if len(own[name]) != len(own[f"{side}_ids"]):
                    where = "" if own["asr_row"] is None else f"row {own['asr_row']}: "
                    raise ConfigError(
                        f"{where}{len(own[name])} entries in {self.prefix}{name}, {len(own[f'{side}_ids'])} ids"
                    )
        return own

    def _reference(self, row: Mapping[str, Any], side: str, cut: slice, weights: list[float] | None) -> float:
        """The sum of a response's log π_ref over the tokens that count, each times its weight."""
        prompt, logps = len(row["prompt_ids"]), row[f"{side}_ref_logp"]
        used = kept([True] * len(logps) if self.detach else row[f"{side}_mask"], prompt, cut)
        own = ([0.0] * prompt + list(logps))[cut]
        if weights is not None:
            own = [logp * weight for logp, weight in zip(own, weights[: len(own)], strict=True)]
        return sum(logp for logp, keep in zip(own, used, strict=True) if keep)


class AdaptiveDPOTrainer(DPOTrainer):
    """``trl.DPOTrainer`` on pairs annotated by ``asr-annotate``; see ``docs/trainers.md`` for what is refused.

    Every argument of the parent works as there, but ``data_collator``. Where the data has ``S_ref_logp`` columns, the
    reference is read from them and no reference model is loaded.

    Args:
        *arguments, **settings: the parent's.
        column_prefix: what ``--prefix`` was when the data was annotated.
        columns: what ``--columns`` was; only the check of ids needs it.
        check_rows: how many rows of each data set are tokenised again and compared; 0 skips the check.
        detach: masked tokens keep their value in the margin and get no gradient.
        share_prefix: compute a prompt once for both of its responses (:mod:`asr_data.trl.shared_prefix`).

    Raises:
        ConfigError: data or settings with which the loss would not be the masked one.
    """

    # Attributes of the parent, which has no types.
    data_collator: Any
    loss_types: list[str]
    loss_weights: list[float]

    def __init__(
        self,
        *arguments: Any,
        column_prefix: str = "",
        columns: Mapping[str, str] | None = None,
        check_rows: int = 16,
        detach: bool = False,
        share_prefix: bool = False,
        **settings: Any,
    ) -> None:
        self._columns = Columns(column_prefix, columns, check_rows)
        self._detach = detach
        given = bound(DPOTrainer, arguments, settings)
        if given.get("data_collator") is not None:
            raise ConfigError("data_collator cannot be set: the trainer's own applies the masks")
        if detach or share_prefix:
            require_fused_head(dpo_trainer, "detach and share_prefix")
        train_dataset = given.get("train_dataset")
        self._stored = train_dataset is not None and self._columns.has(train_dataset, "chosen_ref_logp")
        self._weighted = train_dataset is not None and self._columns.has(train_dataset, "chosen_weight")
        given["args"] = _settings(given, stored=self._stored)
        self._means = self._weighted and _checked_means(given["args"], detach=detach)
        with _shared_prefixes() if share_prefix else nullcontext():
            super().__init__(**given)
        self._adapt_collator()

    def _adapt_collator(self) -> None:
        base = self.data_collator
        if isinstance(base, AdaptivePreferenceCollator):
            return
        if type(base) is not DataCollatorForPreference:
            raise ConfigError("data with images has no masks: it cannot be trained on here")
        fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
        self.data_collator = AdaptivePreferenceCollator(
            **fields, prefix=self._columns.prefix, detach=self._detach, means=self._means
        )

    def _prepare_dataset(
        self, dataset: Dataset | IterableDataset, processing_class: Any, args: DPOConfig, dataset_name: str
    ) -> Dataset | IterableDataset:
        """The rows as they are, after checks; TRL would tokenise them."""
        dataset = dataset.with_format(None)
        self._columns.check(dataset, PAIR, processing_class, dataset_name)
        names = ["prompt_ids"]
        if self._columns.has(dataset, "chosen_ref_logp") != self._stored:
            raise ConfigError(
                f"either all data sets have S_ref_logp columns or none; {dataset_name} differs from train"
            )
        if self._columns.has(dataset, "chosen_weight") != self._weighted:
            raise ConfigError(f"either all data sets have S_weight columns or none; {dataset_name} differs from train")
        if self._stored:
            names += ["chosen_ref_logp", "rejected_ref_logp"]
        # As TRL: a prompt that fills max_length leaves nothing to train on.
        longest = args.max_length if args.truncation_mode == "keep_start" else None
        if longest is not None or self._stored:
            dataset = usable(dataset, [self._columns.prefix + name for name in names], longest, dataset_name)
        if isinstance(dataset, Dataset):
            # TRL keeps reference log-probabilities under this fingerprint, and they depend on what the collator does.
            choices: tuple[Any, ...] = (
                args.max_length,
                args.truncation_mode,
                args.ld_alpha,
                self._detach,
                self._columns.prefix,
            )
            choices += (self._means,) if self._weighted else ()
            dataset._fingerprint = Hasher.hash((dataset._fingerprint, *choices))
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            ours = ["asr_row", "prompt_ids", *(f"{side}_{part}" for side in PAIR for part in _PARTS)]
            self._signature_columns: list[str] = [self._columns.prefix + name for name in ours] + list(_PRECOMPUTED)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        self._adapt_collator()  # called from the parent's constructor too
        return dataset if self._stored else super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """As the parent's, weighted; ``kept_mask`` and ``kept_weight`` are none of the model's arguments."""
        own = {k: v for k, v in inputs.items() if k not in ("kept_mask", "kept_weight")}
        with WeightedHead().on([self._unwrapped(model)], None if self._detach else inputs.get("kept_weight")):
            return super().compute_ref_log_probs(model, own)

    def _unwrapped(self, model: Any) -> Any:
        return None if model is None else self.accelerator.unwrap_model(model)

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any], return_outputs: bool) -> Any:
        batch = dict(inputs)
        mask, weights = batch.pop("kept_mask", None), batch.pop("kept_weight", None)
        if mask is not None:
            by = _detached(model, mask if weights is None else weights)
        else:
            by = WeightedHead().on([self._unwrapped(model), self._unwrapped(getattr(self, "ref_model", None))], weights)
        with by, self._without_empty_sft(batch):
            return super()._compute_loss(model, batch, return_outputs)

    @contextmanager
    def _without_empty_sft(self, batch: Mapping[str, Tensor]) -> Iterator[None]:
        """Leave TRL's ``sft`` term out of a batch whose chosen masks are all empty: it would be a mean over nothing."""
        types, weights = self.loss_types, self.loss_weights
        chosen = batch["completion_mask"].chunk(2)[0]
        if "sft" in types and not bool(chosen[:, 1:].any()):
            self.loss_types = [kind for kind in types if kind != "sft"]
            self.loss_weights = [weight for kind, weight in zip(types, weights, strict=True) if kind != "sft"]
        try:
            yield
        finally:
            self.loss_types, self.loss_weights = types, weights

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As the parent's; with ``S_ref_logp`` columns, after training has begun too."""
        if self._stored and isinstance(eval_dataset, Dataset | IterableDataset):
            eval_dataset = self._prepare_dataset(eval_dataset, self.processing_class, self.args, "eval")
        elif not self._stored or not isinstance(eval_dataset, dict):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        # Past DPOTrainer.evaluate, which refuses new data since it would have to run a reference model. Trainer's
        # comes back here for each of several data sets.
        return super(DPOTrainer, self).evaluate(eval_dataset, ignore_keys, metric_key_prefix)


def _settings(given: Mapping[str, Any], *, stored: bool) -> DPOConfig:
    """The trainer's arguments, after checks; a copy that reads the reference from the data where it is stored there."""
    args, model = given.get("args"), given["model"]
    if args is None:
        name = model if isinstance(model, str) else get_config_model_id(model.config)
        args = DPOConfig(f"{name.split('/')[-1]}-DPO")
    if list(args.loss_type) == ["sft"]:
        raise ConfigError("loss_type 'sft' alone is rejection sampling: use AdaptiveRSTrainer")
    if not stored:
        return args
    refused = {
        "ref_model": given.get("ref_model") is not None,
        "sync_ref_model": args.sync_ref_model,
        "ld_alpha": args.ld_alpha is not None,
        "truncation_mode='keep_end'": args.truncation_mode == "keep_end" and args.max_length is not None,
    }
    if any(refused.values()):
        names = ", ".join(name for name, said in refused.items() if said)
        raise ConfigError(f"the reference is read from S_ref_logp columns; drop them from the data to use {names}")
    args = copy.copy(args)
    args.precompute_ref_log_probs = True  # the reference is in the batch: TRL loads none
    return args


def _checked_means(args: DPOConfig, *, detach: bool) -> bool:
    """Whether the loss is of means per token, for data with weights.

    Raises:
        ConfigError: a TRL without the fused head, or settings that would take weights for what they are not.
    """
    require_fused_head(dpo_trainer, "S_weight columns")
    types = list(args.loss_type)
    on = {"sft": "sft" in types, "ld_alpha": args.ld_alpha is not None, "use_weighting": args.use_weighting}
    refused = [name for name in _WITHOUT_WEIGHTS if on[name]]
    if refused:
        raise ConfigError(f"{', '.join(refused)}: TRL counts tokens there; drop the S_weight columns to use it")
    means = [kind in _MEANS for kind in types]
    if any(means) and not all(means):
        raise ConfigError(
            f"loss_type {', '.join(types)}: with S_weight columns, either all or none are means per token "
            f"({', '.join(_MEANS)})"
        )
    return all(means) and not detach


@contextmanager
def _shared_prefixes() -> Iterator[None]:
    """Models that get TRL's fused head meanwhile share prefixes: TRL adds it before it prepares the reference."""
    add_head = dpo_trainer.add_fused_lm_head

    def add(model: Any, *arguments: Any, **settings: Any) -> None:
        add_head(model, *arguments, **settings)
        share_prefixes(model)

    dpo_trainer.add_fused_lm_head = add
    try:
        yield
    finally:
        dpo_trainer.add_fused_lm_head = add_head


@contextmanager
def _detached(model: torch.nn.Module, mask: Tensor) -> Iterator[None]:
    """Log-probabilities that the model gives meanwhile have a gradient only where ``mask`` is above 0, times it.

    ``mask``: 0 and 1, or weights, ``[batch, time]``.
    """

    def detach(_module: torch.nn.Module, _arguments: Any, output: Any) -> Any:
        if getattr(output, "log_probs", None) is not None:
            own, by = output.log_probs, aligned(mask, output.log_probs)
            fixed = own.detach()
            moving = fixed + by * (own - fixed) if mask.is_floating_point() else own
            output.log_probs = moving.where(by > 0, fixed)
        return output

    handle = model.register_forward_hook(detach)
    try:
        yield
    finally:
        handle.remove()
