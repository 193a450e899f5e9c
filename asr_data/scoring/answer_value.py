"""The ``answer_value`` kind: how likely a known answer is after each sentence of a response.

At every boundary a branch hangs off the response: the bridge and the answer. Its reading is the mean log-probability of
the answer's tokens; that of the branch at the end of the prompt is ``V_{-1}``. All branches of a response share what
stands before them, so an engine that runs token trees computes the response once.

Bridge and answer are tokenised together and apart from the response, so that their tokens are the same at every branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_data.errors import RowRejected
from asr_data.scoring.config import AnswerValueConfig
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.engine import Request
from asr_data.scoring.model_scorer import NOTHING_READ, Reading
from asr_data.scoring.prompting import as_prompted
from asr_data.scoring.sequence_head import boundary_tokens, with_start
from asr_data.text.align import align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, Float32, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchReading(Reading):
    """Readings are of the answer's tokens at each branch; ``answer`` of them at every one."""

    answer: int


class AnswerValueEncoder:
    """Asks for the log-probabilities of the answer after each prefix of a response."""

    def __init__(self, tokenizer: Tokenizer, config: AnswerValueConfig, contexts: Contexts) -> None:
        self._tokenizer, self._config, self._contexts = tokenizer, config, contexts

    def encode(self, row: Row) -> list[Reading]:
        """See :class:`asr_data.scoring.model_scorer.Encoder`; a response without a known answer is unknown."""
        answers = [self._contexts.shown(row, place, self._config.answer) for place in range(len(row.completions))]
        views = self._contexts.views(row)
        if not any(answer and view for answer, view in zip(answers, views, strict=True)):
            raise RowRejected("no_context", f"there is no answer ({self._config.answer}) for any response of the row")
        return [
            NOTHING_READ if view is None or not answer else self._response(view[0], answer)
            for view, answer in zip(views, answers, strict=True)
        ]

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """Means over the answer's tokens; the last one is the sequence score."""
        if not isinstance(reading, BranchReading):
            raise TypeError(f"expected a reading of {type(self).__name__}, got {type(reading).__name__}")
        means = values.reshape(-1, reading.answer).astype(np.float64).mean(axis=1)
        return ByteRewards(reading.span_end, means.astype(np.float32), reading.step_end, float(means[-1]))

    def _response(self, row: Row, answer: str) -> Reading:
        aligned = align(as_prompted(row, self._config.prompt), self._tokenizer)
        (response,) = aligned.responses
        written = np.flatnonzero(response.covers)
        if not len(written):
            if response.missing:
                return NOTHING_READ
            raise RowRejected("tokens_uncovered", "no token of the response covers any of its text")
        last = boundary_tokens(response, written, self._config.boundary)
        ends = response.end[last].copy()
        ends[-1] = len(response.text.encode())
        branch, read = self._branch(answer)
        prompt, ids = aligned.prompt_ids, aligned.prompt_ids + response.ids
        cuts = [len(prompt)] if prompt else []
        cuts += [len(prompt) + int(token) + 1 for token in last]
        targets = [branch[token] for token in read]
        requests = [Request(ids[:cut] + branch, [cut + token - 1 for token in read], targets) for cut in cuts]
        return BranchReading(
            tuple(requests),
            with_start(ends, bool(prompt)),
            ends.astype(np.int32),
            unread=response.missing,
            answer=len(read),
        )

    def _branch(self, answer: str) -> tuple[list[int], list[int]]:
        """Ids of bridge and answer, and which of them hold the answer's text."""
        bridge = self._config.bridge
        encoded = self._tokenizer.encode(bridge + answer, add_special_tokens=False)
        read = np.flatnonzero(encoded.end > len(bridge.encode())).tolist()
        if not read:
            raise RowRejected("tokens_uncovered", "no token covers the answer")
        return encoded.ids, read
