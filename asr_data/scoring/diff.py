"""``diff``: no model; a word that the other answer of the pair has, too, is worth 1, any other word 0."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np

from asr_data.response import byte_offsets, response_text
from asr_data.scoring.config import DiffConfig
from asr_data.scoring.protocol import Scored, ScorerInfo
from asr_data.text.shared_words import SharedWords, shared_words
from asr_data.types import ByteRewards, RejectedRow, Row


class DiffScorer:
    """Gives each word 1 where the other answer has it and 0 elsewhere; see :mod:`asr_data.text.shared_words`.

    Of two answers to one prompt, what both say is as good in the one as in the other; the verdict is about the rest.
    That does not say what a word is worth by itself: it is the control that a scorer with a model has to beat.

    A row without a second answer is rejected (``no_other_answer``). A response of white space alone has no words, and
    is unknown.
    """

    def __init__(self, config: DiffConfig) -> None:
        settings = config.model_dump(mode="json")
        self.tokenizer = None
        self.info = ScorerInfo(
            name=config.kind,
            kind=config.kind,
            form=config.form,
            fingerprint=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
            settings=config.model_dump(mode="json", exclude_defaults=True),
            partial=True,
        )
        self._unit = config.unit

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:  # noqa: ARG002 - there are none
        """Score rows; see :class:`asr_data.scoring.protocol.Scorer`."""
        return [self._row(row) for row in rows]

    def _row(self, row: Row) -> Scored:
        if len(row.completions) != 2:
            message = "kind 'diff' compares the two answers of a pair, and this row has one"
            return RejectedRow(row.index, "no_other_answer", message)
        first, second = (response_text(completion.content) for completion in row.completions)
        words = shared_words(first, second, self._unit)
        return tuple(word_rewards(text, own) for text, own in zip((first, second), words, strict=True))


def word_rewards(text: str, words: SharedWords) -> ByteRewards:
    """The rewards of a response text: a span for each word, or an unknown one where there is none."""
    byte = byte_offsets(text)
    if not words.end.size:
        unknown = np.full(min(1, len(text)), np.nan, dtype=np.float32)
        return ByteRewards(byte[-1:][: len(text)].astype(np.int32), unknown, np.zeros(0, dtype=np.int32))
    return ByteRewards(byte[words.end].astype(np.int32), words.shared.astype(np.float32), np.zeros(0, dtype=np.int32))
