"""The ``implicit`` kind: what a policy and its reference say about each token of a response.

A policy that was trained against its reference (DPO, SePO, RTO) or as the ratio of the two (EurusPRM, PRIME) carries
the reward ``β Σ_t (log π(y_t | x, y_<t) − log π_ref(y_t | x, y_<t))``. A token's term is its *increment*, the sum up to
a token is its *value*.

Which tokens are summed: those of TRL's DPO loss that the assistant wrote, the end of turn among them. The sum over all
of them is the sequence reward. On bytes:

* a token that stands for text gives its increment to the bytes that it covers;
* what closes a turn has no bytes. Its increment is part of the sequence reward and of the values after it, and of no
  span of increments;
* what else covers no bytes (what a template puts before the response) is counted with the next token that does;
* bytes that no token covers (the white space that a template trims) add nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from asr_data.errors import RowRejected, ScorerError
from asr_data.response import bytes_of_contents, contents_text, response_parts
from asr_data.scoring.config import ImplicitConfig, StepLayoutConfig
from asr_data.scoring.decoder import Decoder
from asr_data.scoring.engine import Engine, Request, Runner
from asr_data.scoring.language_head import LanguageHead, load_language_head
from asr_data.scoring.model_scorer import NOTHING_READ, Reading
from asr_data.scoring.prompting import as_prompted
from asr_data.scoring.step_splitting import split_steps
from asr_data.text.align import AlignedResponse, align
from asr_data.text.tokenizer import Tokenizer, load_tokenizer
from asr_data.types import Bool, ByteRewards, Float32, Int32, Int64, Row, Text

_TOKENIZER = "tokenizer.json"


class LogProbabilityReadout(nn.Module):
    """``log p(target)`` from the hidden state before it: ``[n, hidden]``, int64 ``[n]`` → float32 ``[n]``."""

    def __init__(self, head: LanguageHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden: Tensor, target: Tensor | None, /) -> Tensor:
        """Log-probabilities over the whole vocabulary, in nats."""
        if target is None:
            raise ScorerError("log-probabilities need a target token at each position; this request has none")
        out = []
        for states, token in zip(*(torch.split(x, self.head.rows) for x in (hidden, target)), strict=True):
            logits = self.head(states)
            out.append(logits.gather(-1, token[:, None])[:, 0] - logits.logsumexp(-1))
        return torch.cat(out)


@dataclass(frozen=True, slots=True)
class LogRatioRunner:
    """A request's log-ratios: readings of the policy minus those of the reference, times β."""

    policy: Runner
    reference: Runner
    beta: float

    @property
    def attention(self) -> str:
        """Of the policy; the reference is of the same family."""
        return self.policy.attention

    def run(self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None) -> list[Float32 | None]:
        """See :class:`asr_data.scoring.engine.Runner`; tokens are done when both models have read them."""
        pairs = zip(self.policy.run(requests), self.reference.run(requests, on_tokens), strict=True)
        return [None if own is None or base is None else self.beta * (own - base) for own, base in pairs]


def implicit_runner(settings: ImplicitConfig, policy: Decoder, reference: Decoder, *, batch_tokens: int) -> Runner:
    """Both models, each with its head.

    Raises:
        ScorerError: a head cannot be loaded, or the two do not have the same tokens.
    """
    own, base = load_language_head(policy), load_language_head(reference)
    if own.vocabulary != base.vocabulary:
        raise ScorerError(
            f"the policy has {own.vocabulary} tokens and its reference {base.vocabulary}: they must share a vocabulary"
        )
    _check_tokens(policy, reference)
    return LogRatioRunner(
        Engine(policy.model, LogProbabilityReadout(own), batch_tokens=batch_tokens),
        Engine(reference.model, LogProbabilityReadout(base), batch_tokens=batch_tokens),
        settings.beta,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReading(Reading):
    """Readings are log-ratios of tokens.

    Attributes:
        count: int64 ``[spans]``, a span's value is the sum of so many log-ratios.
        closing: bool ``[tokens]``, what closes a turn.
    """

    count: Int64
    closing: Bool


class ImplicitEncoder:
    """Asks for the log-probability of every token that the assistant wrote."""

    def __init__(self, tokenizer: Tokenizer, config: ImplicitConfig) -> None:
        self._tokenizer = tokenizer
        self._config = config

    def encode(self, row: Row) -> list[Reading]:
        """See :class:`asr_data.scoring.model_scorer.Encoder`."""
        row = as_prompted(row, self._config.prompt)
        aligned = align(row, self._tokenizer)
        if not aligned.prompt_ids:
            raise RowRejected("empty_prompt", "the prompt is empty: the first response token has no log-probability")
        pairs = zip(aligned.responses, row.completions, strict=True)
        return [self._reading(aligned.prompt_ids, response, completion.content) for response, completion in pairs]

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """Sums of log-ratios, or what each span adds to them; see the module."""
        if not isinstance(reading, TokenReading):
            raise TypeError(f"a reading of {type(self).__name__} is asked for, not {type(reading).__name__}")
        ratios = values.astype(np.float64)
        increment = self._config.form == "increment"
        counted = np.where(reading.closing, 0, ratios) if increment else ratios
        sums = np.concatenate([[0.0], np.cumsum(counted)])[reading.count]
        spans = np.diff(sums, prepend=0.0) if increment else sums
        return ByteRewards(reading.span_end, spans.astype(np.float32), reading.step_end, float(ratios.sum()))

    def _reading(self, prompt_ids: list[int], response: AlignedResponse, content: Text) -> Reading:
        tokens = np.flatnonzero(response.written)
        start, end = response.start[tokens], response.end[tokens]
        if not np.any(end > start):
            if response.missing:
                return NOTHING_READ
            raise RowRejected("tokens_uncovered", "no token of the response covers any of its text")
        by_steps = self._config.steps is not None
        if by_steps and not contents_text(content):
            return NOTHING_READ
        if self._config.steps is None:
            span_end, count = _token_spans(start, end, len(response.text.encode()))
            step_end = []
        else:
            span_end, count = _step_spans(content, bytes_of_contents(end, content), self._config.steps)
            step_end = span_end
        if self._config.form == "value":  # nothing is summed at the end of the prompt
            span_end, count = [0, *span_end], [0, *count]
        ids = prompt_ids + response.ids
        position = tokens + len(prompt_ids)
        request = Request(ids, (position - 1).tolist(), [ids[t] for t in position])
        closing = response.closing[tokens]
        return TokenReading(
            (request,),
            np.array(span_end, np.int32),
            np.array(step_end, np.int32),
            contents_only=by_steps,
            unread=() if by_steps else response.missing,
            count=np.array(count, np.int64),
            closing=closing,
        )


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


def _check_tokens(policy: Decoder, reference: Decoder) -> None:
    """Raise ScorerError where both models have tokenizers and a token has two ids."""
    folders = [_with_tokenizer(decoder) for decoder in (policy, reference)]
    if folders[0] is None or folders[1] is None:
        return
    own, base = (load_tokenizer(str(folder)).hf.get_vocab() for folder in folders)
    for token, i in own.items():
        if base.get(token, i) != i:
            raise ScorerError(
                f"the policy in {folders[0]} and the reference in {folders[1]} have different tokenizers: "
                f"{token!r} is {i} in one and {base[token]} in the other"
            )


def _with_tokenizer(decoder: Decoder) -> Path | None:
    folders = [folder for folder in (decoder.directory, decoder.checkpoint) if folder is not None]
    return next((folder for folder in folders if (folder / _TOKENIZER).is_file()), None)
