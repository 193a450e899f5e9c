"""Training examples as token ids with a target for each token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from asr_data.errors import RowRejected
from asr_data.scoring.config import PromptConfig
from asr_data.scoring.prompting import as_prompted
from asr_data.text.align import AlignedResponse, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.training.examples import Goal, TrainingExample
from asr_data.types import ByteRewards, Float32

PROMPT: Final = PromptConfig(strings="turns")
"""The layout that scorers are trained in, and that their settings say: always the chat template."""

_NAME_OF: Final[dict[Goal, str]] = {"pair": "{} pairs", "verdict": "{} verdicts", "labels": "{}"}


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
    """What a loss is computed on.

    Attributes:
        group: identity of the question.
        source: source and goal, which figures are given for.
        goal: see :class:`asr_data.training.examples.TrainingExample`.
        sequences: a pair (chosen first), or one response.
        preferred: the verdict; of a pair, True.
    """

    group: str
    source: str
    goal: Goal
    sequences: tuple[Encoded, ...]
    preferred: bool = True

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(len(s.ids) for s in self.sequences)


def encode_examples(
    examples: Iterable[TrainingExample], tokenizer: Tokenizer, max_length: int, name: str
) -> tuple[list[Unit], Counter[str]]:
    """Tokenise examples of the source called ``name``; what cannot be used is counted by reason."""
    units: list[Unit] = []
    skipped: Counter[str] = Counter()
    for example in examples:
        try:
            unit = _encode(example, tokenizer, name)
        except RowRejected as rejected:
            skipped[rejected.code] += 1
            continue
        if max(len(s.ids) for s in unit.sequences) > max_length:
            skipped["too_long"] += 1
        elif unit.goal == "labels" and np.isnan(unit.sequences[0].target).all():
            skipped["no_label_on_a_token"] += 1
        else:
            units.append(unit)
    return units, skipped


def _encode(example: TrainingExample, tokenizer: Tokenizer, name: str) -> Unit:
    row = as_prompted(example.row, PROMPT)
    aligned = align(row, tokenizer)
    first = len(aligned.prompt_ids)
    sequences = tuple(
        Encoded(aligned.prompt_ids + response.ids, first, token_targets(example.targets, response))
        for response in aligned.responses
    )
    source = _NAME_OF[example.goal].format(name)
    return Unit(example.group, source, example.goal, sequences, row.completions[0].preferred)


def token_targets(targets: ByteRewards | None, response: AlignedResponse) -> Float32:
    """A token takes the target of its last byte (a token often starts with a space)."""
    out = np.full(len(response.ids), np.nan, dtype=np.float32)
    if targets is not None:
        covers = response.end > response.start
        span = np.searchsorted(targets.span_end, response.end[covers] - 1, side="right")
        out[covers] = targets.span_reward[span]
    return out
