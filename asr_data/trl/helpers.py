"""Helpers for what TRL's versions place differently or do not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final

import pyarrow as pa
from accelerate import PartialState
from datasets import Dataset, IterableDataset

from asr_data.errors import ConfigError

TESTED: Final = "1.16"
"""The TRL that trainers on its private or experimental parts were tested with."""


def column_names(dataset: Dataset | IterableDataset) -> list[str]:
    """Of data that may be a stream which does not know them."""
    names = dataset.column_names
    return list(next(iter(dataset)) if names is None else names)


def schema_of(dataset: Dataset | IterableDataset) -> pa.Schema | None:
    """The Arrow schema with features as its metadata; None for data that does not know its columns."""
    return None if dataset.features is None else dataset.features.arrow_schema


def require_tested(name: str, parent: type, methods: Sequence[str]) -> None:
    """Refuse a TRL that a trainer of ours was not tested with.

    Args:
        name: of the trainer.
        parent: TRL's class.
        methods: what ours stands on.

    Raises:
        ConfigError: names TRL's version.
    """
    found = version("trl")
    missing = [method for method in methods if not hasattr(parent, method)]
    if missing or found.split(".")[:2] != TESTED.split("."):
        lacks = f", whose {parent.__name__} has no {', '.join(missing)}" if missing else ""
        raise ConfigError(f"{name} stands on inner parts of TRL {TESTED}; this is TRL {found}{lacks}")


@contextmanager
def one_process_first() -> Iterator[None]:
    """What is made in the cache of ``datasets`` is made once: by the main process, then by each machine's first."""
    state = PartialState()
    with state.main_process_first(), state.local_main_process_first():
        yield


def token_ids(tokenizer: Any, text: str | Sequence[Mapping[str, Any]], **template: Any) -> list[int]:
    """Token ids of a text or of messages, as TRL's trainers make them while they prepare data."""
    if isinstance(text, str):
        return list(tokenizer(text=text)["input_ids"])
    return list(tokenizer.apply_chat_template(text, tokenize=True, return_dict=True, **template)["input_ids"])
