"""What a format with labels is, and what its reader returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from asr_data.rows.columns import column_type, is_number, item_type
from asr_data.types import Completion, Label, Message, Side, Text

InputRecord: TypeAlias = Mapping[str, Any]
ReadRow: TypeAlias = tuple[Text, tuple[Completion, ...]]
LabelledText: TypeAlias = tuple[str, tuple[Label, ...]]
"""A response text and its labels."""


@dataclass(frozen=True, slots=True)
class LabelledFormat:
    """One layout of data that carries labels.

    Attributes:
        name: what the user writes, and the key in ``FORMATS``.
        title: one line for the user.
        source: the data set or page that defines the layout.
        sides: ``("chosen", "rejected")`` or ``("completion",)``.
        matches: whether a data set has this layout, by its columns and some of its records.
        read: a record's prompt and its completions, in the order of ``sides``; raises ``RowRejected``.
    """

    name: str
    title: str
    source: str
    sides: tuple[Side, ...]
    matches: Callable[[pa.Schema, Sequence[InputRecord]], bool]
    read: Callable[[InputRecord], ReadRow]


def single(prompt: str | list[Message], response: LabelledText) -> ReadRow:
    """One labelled response, taken as preferred like any completion without a verdict."""
    text, labels = response
    return user(prompt), (Completion("completion", assistant(text), True, labels),)


def user(content: str | list[Message]) -> list[Message]:
    """A prompt as a conversation, so that the chat template sets question and answer apart.

    As plain texts, a question and the first step of its answer would run together.
    """
    return [{"role": "user", "content": content}] if isinstance(content, str) else content


def assistant(text: str) -> list[Message]:
    """A response to :func:`user`."""
    return [{"role": "assistant", "content": text}]


def has(schema: pa.Schema, *paths: str) -> bool:
    """Whether a data set has all these columns, or keys inside of them (``label.steps``)."""
    return all(column_type(schema, path) is not None for path in paths)


def has_numbers(schema: pa.Schema, *columns: str) -> bool:
    """Whether all these columns hold numbers."""
    return all((kind := column_type(schema, column)) is not None and is_number(kind) for column in columns)


def has_number_lists(schema: pa.Schema, *columns: str) -> bool:
    """Whether all these columns hold lists of numbers, or of true and false."""
    kinds = [column_type(schema, column) for column in columns]
    items = [None if kind is None else item_type(kind) for kind in kinds]
    return all(item is not None and (is_number(item) or pa.types.is_boolean(item)) for item in items)
