"""What a row teaches: which response is preferred, and what its labels say of each part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeAlias

import numpy as np

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.rows.columns import column_value
from asr_data.scoring.config import LabelsConfig
from asr_data.scoring.labels import LabelScorer
from asr_data.training.config import SourceConfig
from asr_data.types import ByteRewards, Criterion, RejectedRow, Row, Text

Goal: TypeAlias = Literal["pair", "verdict", "labels"]


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """What one loss is computed on.

    Attributes:
        group: identity of the question; what is held out and resampled as a whole.
        goal: ``pair``: two responses, the first preferred; ``verdict``: one response that is good or bad as a whole;
            ``labels``: one response with labels.
        row: the prompt and these responses, without the input's columns.
        targets: the labels over the bytes of the response text, scaled to ``[0, 1]``, NaN where unknown; None for the
            other goals.
        pair: for ``labels``: the row with both responses, where there are two.
        place: of this response in ``pair``.
    """

    group: str
    goal: Goal
    row: Row
    targets: ByteRewards | None = None
    pair: Row | None = None
    place: int = 0


def examples_of(row: Row, config: SourceConfig, *, verdicts: bool) -> list[TrainingExample]:
    """The examples of one row, pairs and verdicts first.

    Args:
        row: as ``run`` reads it.
        config: what to learn, and the scale of the labels.
        verdicts: a single response's ``preferred`` is a verdict, and not the default of rows that have none.

    Raises:
        RowRejected: ``no_labels`` or ``label_mismatch`` as for ``run --kind labels``, ``label_out_of_range``, or
            ``no_preference`` where preferences are asked for and the row has none.
    """
    bare = replace(row, source={})
    group = _group(row, config.group)
    examples = []
    if config.learn != "labels" and (len(row.completions) == 2 or verdicts):
        examples.append(TrainingExample(group, "pair" if len(row.completions) == 2 else "verdict", bare))
    labelled = any(completion.labels for completion in row.completions)
    if config.learn != "preferences" and (labelled or not examples):
        examples += _labelled(bare, group, config)
    if not examples:
        raise RowRejected("no_preference", "a single response without a verdict")
    return examples


def _labelled(row: Row, group: str, config: SourceConfig) -> Iterator[TrainingExample]:
    """One example for each response with labels, which say the same of the same bytes as in ``run --kind labels``."""
    (scored,) = _scorer(tuple(config.criteria.items())).score([row])
    if isinstance(scored, RejectedRow):
        raise RowRejected(scored.code, scored.message)
    pair = row if len(row.completions) == 2 else None
    for place, (completion, rewards) in enumerate(zip(row.completions, scored, strict=True)):
        if completion.labels:
            targets = replace(rewards, span_reward=_scaled(rewards, config.scale))
            alone = replace(row, completions=(completion,))
            yield TrainingExample(group, "labels", alone, targets, pair, place)


@cache
def _scorer(criteria: tuple[tuple[Criterion, float], ...]) -> LabelScorer:
    return LabelScorer(LabelsConfig(criteria=dict(criteria)))


def _scaled(rewards: ByteRewards, scale: tuple[float, float]) -> np.ndarray:
    low, high = scale
    known = rewards.span_reward[~np.isnan(rewards.span_reward)]
    if known.size and not low <= known.min() <= known.max() <= high:
        raise RowRejected(
            "label_out_of_range",
            f"labels from {known.min():g} to {known.max():g}; allowed are {low:g} to {high:g}: set scale=LOW..HIGH",
        )
    return ((rewards.span_reward - low) / (high - low)).astype(np.float32)


def identity(example: TrainingExample) -> int:
    """A hash that is equal for equal prompt, text and labels: 64 bits stand for the texts, to save memory."""
    (completion,) = example.row.completions
    prompt = example.row.prompt
    turns = prompt if isinstance(prompt, str) else tuple((m["role"], m.get("content")) for m in prompt)
    return hash((turns, response_text(completion.content), completion.labels))


def _group(row: Row, column: str | None) -> str:
    """The row's question.

    PRMBench asks one problem in several wordings, one for each type of planted error, and says so in the id
    alone: ``<problem>-<error type>``. Grouped by prompt, a rewording could be held out and its twin not.
    """
    if column is not None:
        value = column_value(row.source, column)
        if value is None:
            raise RowRejected("missing_column", f"column {column!r} (group) is absent or null")
        return group_of(f"{column}={value}")
    name, suffix = row.source.get("id"), f"-{row.source.get('error_type')}"
    if isinstance(name, str) and name.endswith(suffix) and name != suffix:
        return group_of(name.removesuffix(suffix))
    return group_of(row.prompt)


def group_of(prompt: Text) -> str:
    """Return the identity of a question: 16 hexadecimal digits, equal for equal first user turns.

    Case and white space do not count. Later turns do not count either: conversations that open with the same
    question stay together when questions are held out.
    """
    normalised = " ".join(first_user_turn(prompt).casefold().split())
    return hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def first_user_turn(prompt: Text) -> str:
    """Return the content of the first user message, or all text where no message is the user's."""
    if isinstance(prompt, str):
        return prompt
    for message in prompt:
        if message["role"] == "user":
            return str(message["content"])
    return "\n".join(str(message["content"]) for message in prompt)
