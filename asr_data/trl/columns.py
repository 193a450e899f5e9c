"""Checks of annotated data for a trainer: our columns are there, and their ids are this tokenizer's."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
from datasets import Dataset, IterableDataset

from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.rows import detect, normalise
from asr_data.rows.class_labels import split_verdicts, verdict_of, verdicts
from asr_data.rows.features import class_names, features_of, with_features
from asr_data.text.clock import Rendering, fixed_clock, noted_date
from asr_data.trl.helpers import column_names, one_process_first, token_ids
from asr_data.types import Row, Side, Text
from asr_data_schemas import data_schema

logger = logging.getLogger(__name__)

PAIR: tuple[Side, ...] = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Columns:
    """How a data set's columns are read and checked.

    Attributes:
        prefix: stands before every column that annotation added (``--prefix``).
        roles: role → input column, as in ``--columns``, where detection needs help.
        check_rows: how many rows are tokenised again and their ids compared; 0 skips the check.
    """

    prefix: str = ""
    roles: Mapping[str, str] | None = None
    check_rows: int = 16

    def has(self, dataset: Dataset | IterableDataset, name: str) -> bool:
        """Whether annotation added this column."""
        return self.prefix + name in column_names(dataset)

    def check(self, dataset: Dataset | IterableDataset, sides: Sequence[Side], tokenizer: Any, where: str) -> None:
        """Refuse data without our columns, or with ids of another tokenizer.

        Args:
            dataset: rows as they were loaded.
            sides: the responses that are trained on.
            tokenizer: the trainer's ``processing_class``.
            where: the data set's name, for messages.

        Raises:
            ConfigError: a column is missing, or an id is not what TRL would make of the row's texts here.
        """
        wanted = ["prompt_ids", *(f"{side}_{part}" for side in sides for part in ("ids", "mask"))]
        missing = [self.prefix + name for name in wanted if not self.has(dataset, name)]
        if missing:
            raise ConfigError(
                f"the {where} data set has no column {', '.join(missing)}. Annotate it: asr-annotate run INPUT -o DIR "
                "--tokenizer MODEL, then datasets.load_dataset(DIR); column_prefix= must be what --prefix was"
            )
        rows = _sample(dataset, self.check_rows) if self.check_rows else []
        for row, read in zip(rows, self._read(dataset, rows, where), strict=True):
            for completion in read.completions:
                if completion.side in sides:
                    self._compare(row, read, completion.side, completion.content, tokenizer, where)

    @property
    def label(self) -> str:
        """Name of the column with an unpaired response's verdict."""
        return (self.roles or {}).get("label", "label")

    def verdict(self, row: Mapping[str, Any], schema: pa.Schema | None = None) -> bool:
        """Whether an unpaired row's response is a preferred one; true where the data has no such column.

        Args:
            row: as it was loaded.
            schema: the data set's, where it is known: it has the names of a class label.

        Raises:
            ConfigError: the label does not say so.
        """
        value = row.get(self.label, True)
        names = None if schema is None or self.label not in schema.names else class_names(schema, self.label)
        try:
            _, given = split_verdicts(self.roles or {})
            meaning = verdicts(self.label, {} if names is None else {self.label: names}, given)
            named = names[value] if names is not None and value in range(len(names)) else value
            return verdict_of(named, meaning, self.label)
        except (InputError, RowRejected) as error:
            raise ConfigError(str(error)) from error

    def _read(self, dataset: Dataset | IterableDataset, rows: list[dict[str, Any]], where: str) -> list[Row]:
        """The texts of annotated rows, as annotation read them."""
        ours = set(data_schema((*PAIR, "completion"), self.prefix, reference=True, weights=True, pairs=True).names)
        records = [{name: value for name, value in row.items() if name not in ours} for row in rows]
        if not records:
            return []
        features = dataset.features
        schema = pa.Table.from_pylist(records).schema if features is None else features.arrow_schema
        try:
            kept = with_features(pa.schema([f for f in schema if f.name not in ours]), features_of(schema))
            named = [_with_class_names(record, kept) for record in records]
            layout = detect(kept, named, self.roles)
            pairs = [row.get(f"{self.prefix}asr_pair") for row in rows]
            return [
                normalise(index, record, layout, pair)
                for index, (record, pair) in enumerate(zip(named, pairs, strict=True))
            ]
        except (InputError, RowRejected) as error:
            raise ConfigError(
                f"the {where} data set's texts, which its ids are checked against, cannot be read: {error}. "
                "Pass the columns= that asr-annotate had (--columns), or check_rows=0 to skip the check"
            ) from error

    def _compare(
        self, row: Mapping[str, Any], read: Row, side: Side, content: Text, tokenizer: Any, where: str
    ) -> None:
        ids = row[f"{self.prefix}{side}_ids"]
        found = list(row[f"{self.prefix}prompt_ids"]) + list(ids)
        place = f"the {where} data set, sampled row {read.index}, {side}"
        if len(row[f"{self.prefix}{side}_mask"]) != len(ids):
            raise ConfigError(f"{place}: {len(ids)} ids and {len(row[f'{self.prefix}{side}_mask'])} mask entries")
        made = _tokens(tokenizer, read, content, noted_date(row.get(f"{self.prefix}asr_notes") or ()))
        if made != found:
            first = next((i for i, (a, b) in enumerate(zip(made, found, strict=False)) if a != b), None)
            differ = f"{len(found)} ids, not {len(made)}" if first is None else f"id {first} is {found[first]}"
            wanted = "" if first is None else f", not {made[first]}"
            raise ConfigError(
                f"{place}: {differ}{wanted}: these are not the ids that this trainer's tokenizer and chat template "
                "make. Annotate with --tokenizer set to the model that is trained, or pass check_rows=0"
            )


def _with_class_names(record: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """The record as annotation reads it: class labels are their names."""
    named = dict(record)
    for name, value in record.items():
        names = class_names(schema, name) if name in schema.names else None
        if names is not None and value in range(len(names)):
            named[name] = names[value]
    return named


def _sample(dataset: Dataset | IterableDataset, count: int) -> list[dict[str, Any]]:
    if isinstance(dataset, IterableDataset):
        return list(dataset.take(count))
    spread = range(0, len(dataset), max(1, len(dataset) // count))[:count]
    return list(dataset.select(spread).to_list())


def _tokens(tokenizer: Any, row: Row, content: Text, day: date | None) -> list[int]:
    """Prompt and response as ``DPOTrainer._prepare_dataset`` tokenises them, on that day."""
    if isinstance(row.prompt, str):
        end = getattr(tokenizer, "tokenizer", tokenizer).eos_token
        text = f"{row.prompt}{content}"
        return token_ids(tokenizer, text if text.endswith(end) else text + end)
    messages = [dict(message) for message in (*row.prompt, *content)]
    if day is not None:
        fixed_clock(tokenizer)
    with Rendering(day):
        return token_ids(tokenizer, messages, **{"tools": None, **row.template_kwargs})


def usable(
    dataset: Dataset | IterableDataset, names: Sequence[str], longest: int | None, where: str
) -> Dataset | IterableDataset:
    """Rows whose prompt, the first of the named columns, is shorter than ``longest``, and without nulls in the others.

    How many are left out is logged where that is known, that is for data with a length.
    """
    with one_process_first():
        left = dataset.filter(_is_usable, input_columns=list(names), fn_kwargs={"longest": longest})
    if isinstance(dataset, Dataset) and len(left) < len(dataset):
        logger.warning(
            "%d of %d rows of the %s data set are left out: their prompt fills max_length, or they have no S_ref_logp",
            len(dataset) - len(left),
            len(dataset),
            where,
        )
    return left


def _is_usable(prompt_ids: Sequence[int], *others: Any, longest: int | None) -> bool:
    return (longest is None or len(prompt_ids) < longest) and all(other is not None for other in others)


def bound(parent: type, arguments: Sequence[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a trainer's constructor by name."""
    return dict(inspect.signature(parent).bind(*arguments, **settings).arguments)


def kept(mask: Sequence[bool], prompt: int, window: slice) -> list[bool]:
    """A response's mask with the prompt before it, cut as the ids are. What stands first has no prediction."""
    cut = ([False] * prompt + list(mask))[window]
    return [False, *cut[1:]]


def window(max_length: int | None, truncation_mode: str = "keep_start") -> slice:
    """The part of prompt plus response that TRL trains on.

    Raises:
        ConfigError: an unknown truncation mode.
    """
    if truncation_mode not in ("keep_start", "keep_end"):
        raise ConfigError(f"truncation_mode is {truncation_mode!r}; allowed are keep_start, keep_end")
    if max_length is None:
        return slice(None)
    return slice(None, max_length) if truncation_mode == "keep_start" else slice(-max_length, None)
