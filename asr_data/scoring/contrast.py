"""Log-probabilities of a response's tokens, in one context or as the difference of two.

``contrast``: ``β [log p(y_t | A, y_<t) − log p(y_t | B, y_<t)]``: what context A changes against context B, under one
model or two. ``implicit``: the same with two models and one context. A policy that was trained against its reference
(DPO, SePO, RTO) or as the ratio of the two (EurusPRM, PRIME) carries the reward
``β Σ_t (log π(y_t | x, y_<t) − log π_ref(y_t | x, y_<t))``. ``logp``: the log-probability itself. A token's term is its
*increment*, the sum up to a token is its *value*.

Which tokens are summed: those of TRL's DPO loss that the assistant wrote, the end of turn among them. The sum over all
of them is the sequence reward. On bytes:

* a token that stands for text gives its increment to the bytes that it covers;
* what closes a turn has no bytes. Its increment is part of the sequence reward and of the values after it, and of no
  span of increments;
* what else covers no bytes (what a template puts before the response) is counted with the next token that does;
* bytes that no token covers (the white space that a template trims) add nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_data.errors import RowRejected
from asr_data.response import bytes_of_contents, contents_text, response_parts
from asr_data.scoring.config import ContrastConfig, ImplicitConfig, LogProbabilityConfig, StepLayoutConfig
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.engine import Request
from asr_data.scoring.model_scorer import NOTHING_READ, Reading
from asr_data.scoring.prompting import as_prompted
from asr_data.scoring.step_splitting import split_steps
from asr_data.text.align import AlignedResponse, AlignedRow, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Bool, ByteRewards, Float32, Int32, Int64, Row, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReading(Reading):
    """Readings are of tokens, once or twice.

    Attributes:
        count: int64 ``[spans]``, a span's value is the sum of this many tokens' rewards.
        closing: bool ``[tokens]``, what closes a turn.
    """

    count: Int64
    closing: Bool


class ContrastEncoder:
    """Asks for the log-probability of every token that the assistant wrote, in each context.

    Args:
        tokenizer: of the model.
        config: of kind ``contrast``, ``implicit`` or ``logp``.
        contexts: A and B; for ``implicit`` and ``logp``, A alone.
        models: the model that reads each term, A first; for ``logp`` one.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ContrastConfig | ImplicitConfig | LogProbabilityConfig,
        contexts: Contexts,
        models: tuple[int, ...],
    ) -> None:
        self._tokenizer, self._contexts, self._models = tokenizer, contexts, models
        self._prompt, self._form = config.prompt, config.form
        self._beta = 1.0 if isinstance(config, LogProbabilityConfig) else config.beta
        self._steps = None if isinstance(config, LogProbabilityConfig) else config.steps

    def encode(self, row: Row) -> list[Reading]:
        """See :class:`asr_data.scoring.model_scorer.Encoder`."""
        if self._contexts.are_default:
            aligned = self._align(row)
            return [
                self._reading([aligned.prompt_ids], [response], completion.content)
                for response, completion in zip(aligned.responses, row.completions, strict=True)
            ]
        readings = []
        for views in self._contexts.views(row):
            if views is None:
                readings.append(NOTHING_READ)
                continue
            aligned_views = [self._align(view) for view in views]
            readings.append(
                self._reading(
                    [aligned.prompt_ids for aligned in aligned_views],
                    [aligned.responses[0] for aligned in aligned_views],
                    views[0].completions[0].content,
                )
            )
        return readings

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """Sums of rewards, or what each span adds to them; see the module."""
        if not isinstance(reading, TokenReading):
            raise TypeError(f"expected a reading of {type(self).__name__}, got {type(reading).__name__}")
        first, *second = np.split(values, len(self._models))
        rewards = (self._beta * (first - second[0]) if second else first).astype(np.float64)
        increment = self._form == "increment"
        counted = np.where(reading.closing, 0, rewards) if increment else rewards
        sums = np.concatenate([[0.0], np.cumsum(counted)])[reading.count]
        spans = np.diff(sums, prepend=0.0) if increment else sums
        return ByteRewards(reading.span_end, spans.astype(np.float32), reading.step_end, float(rewards.sum()))

    def _align(self, row: Row) -> AlignedRow:
        aligned = align(as_prompted(row, self._prompt), self._tokenizer)
        if not aligned.prompt_ids:
            raise RowRejected("empty_prompt", "the prompt is empty: the first response token has no log-probability")
        return aligned

    def _reading(self, prompts: list[list[int]], responses: list[AlignedResponse], content: Text) -> Reading:
        """``prompts`` and ``responses``: the same response in each context."""
        response = responses[0]
        if any(other.ids != response.ids for other in responses[1:]):
            raise RowRejected("template_alters_text", "the response is tokenised differently in the two contexts")
        tokens = np.flatnonzero(response.written)
        start, end = response.start[tokens], response.end[tokens]
        if not np.any(end > start):
            if response.missing:
                return NOTHING_READ
            raise RowRejected("tokens_uncovered", "no token of the response covers any of its text")
        if self._steps is not None and not contents_text(content):
            return NOTHING_READ
        if self._steps is None:
            span_end, count = _token_spans(start, end, len(response.text.encode()))
            step_end = []
        else:
            span_end, count = _step_spans(content, bytes_of_contents(end, content), self._steps)
            step_end = span_end
        if self._form == "value":  # nothing is summed at the end of the prompt
            span_end, count = [0, *span_end], [0, *count]
        by_steps = self._steps is not None
        return TokenReading(
            self._requests(prompts, response.ids, tokens),
            np.array(span_end, np.int32),
            np.array(step_end, np.int32),
            contents_only=by_steps,
            unread=() if by_steps else response.missing,
            count=np.array(count, np.int64),
            closing=response.closing[tokens],
        )

    def _requests(self, prompts: list[list[int]], response: list[int], tokens: NDArray[np.intp]) -> tuple[Request, ...]:
        """One for each term; where there is one context, every model reads it."""
        requests = []
        for number, model in enumerate(self._models):
            prompt = prompts[min(number, len(prompts) - 1)]
            ids = prompt + response
            position = tokens + len(prompt)
            requests.append(Request(ids, (position - 1).tolist(), [ids[t] for t in position], model))
        return tuple(requests)


def _token_spans(start: Int32, end: Int32, text_bytes: int) -> tuple[list[int], list[int]]:
    """A span for every token that covers text, and for what lies uncovered between them; and their counts."""
    span_end, count, reached, summed = [], [], 0, 0
    for token in np.flatnonzero(end > start).tolist():
        if start[token] > reached:
            span_end.append(int(start[token]))
            count.append(summed)
        reached, summed = int(end[token]), token + 1
        span_end.append(reached)
        count.append(summed)
    if reached < text_bytes:
        span_end.append(text_bytes)
        count.append(summed)
    return span_end, count


def _step_spans(content: Text, end: Int32, steps: StepLayoutConfig) -> tuple[list[int], list[int]]:
    """A span for every step; its count ends with the token of its last character that is not white space.

    The last one counts all tokens: the models were trained on sums over whole responses, end of turn included.
    """
    text, parts = response_parts(content)
    texts = [text[part.start : part.end] for part in parts if part.kind == "content"]
    span_end, count, written = [], [], 0
    for text in texts:
        for step, between in split_steps(text, steps.split, keep_empty=steps.empty == "keep") if text else []:
            last = written + len(step.rstrip().encode()) - 1
            count.append(int(np.searchsorted(end, last, side="right")) + 1 if last >= 0 else 0)
            written += len((step + between).encode())
            span_end.append(written)
    count[-1] = len(end)
    return span_end, [min(c, len(end)) for c in count]
