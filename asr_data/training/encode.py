"""Training examples as token ids with a target for each token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from asr_data.errors import RowRejected
from asr_data.text.align import AlignedResponse, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.training.examples import LabelledExample, PreferenceExample
from asr_data.types import Completion, Float32, Row


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sequence.

    Attributes:
        ids: prompt and response tokens.
        first: where the response starts.
        target: float32 ``[response tokens]`` in [0, 1]; NaN where nothing is known.
    """

    ids: list[int]
    first: int
    target: Float32


@dataclass(frozen=True, slots=True)
class Unit:
    """What a loss is computed on: a pair (chosen first) or one labelled response."""

    group: str
    source: str
    sequences: tuple[Encoded, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(len(s.ids) for s in self.sequences)


def encode_examples(
    examples: Iterable[PreferenceExample | LabelledExample], tokenizer: Tokenizer, max_length: int, name: str
) -> tuple[list[Unit], Counter[str]]:
    """Tokenise examples of the source called ``name``; what cannot be used is counted by reason."""
    units: list[Unit] = []
    skipped: Counter[str] = Counter()
    for number, example in enumerate(examples):
        try:
            unit = _encode(number, example, tokenizer, name)
        except RowRejected as rejected:
            skipped[rejected.code] += 1
            continue
        if max(len(s.ids) for s in unit.sequences) > max_length:
            skipped["too_long"] += 1
        elif len(unit.sequences) == 1 and np.isnan(unit.sequences[0].target).all():
            skipped["no_label_on_a_token"] += 1
        else:
            units.append(unit)
    return units, skipped


def _encode(number: int, example: PreferenceExample | LabelledExample, tokenizer: Tokenizer, name: str) -> Unit:
    if isinstance(example, PreferenceExample):
        completions: tuple[Completion, ...] = (
            Completion("chosen", example.chosen, preferred=True),
            Completion("rejected", example.rejected, preferred=False),
        )
        source = f"{name} pairs"
    else:
        completions = (Completion("completion", example.response.content, preferred=True),)
        source = name
    aligned = align(Row(number, {}, example.prompt, completions), tokenizer)
    first = len(aligned.prompt_ids)
    sequences = []
    for response in aligned.responses:
        target = np.full(len(response.ids), np.nan, dtype=np.float32)
        if isinstance(example, LabelledExample):
            target = token_targets(example, response)
        sequences.append(Encoded(aligned.prompt_ids + response.ids, first, target))
    return Unit(example.group, source, tuple(sequences))


def token_targets(example: LabelledExample, response: AlignedResponse) -> Float32:
    """A token takes the target of the label that holds its last byte (a token often starts with a space)."""
    target = np.full(len(response.ids), np.nan, dtype=np.float32)
    covers = response.end > response.start
    for label in example.response.labels:
        last = response.end - 1
        target[covers & (last >= label.start) & (last < label.end)] = label.target
    return target
