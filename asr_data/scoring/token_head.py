"""The ``token_head`` kind: a reward at token positions from a head on a decoder's last hidden state."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from asr_data.errors import RowRejected
from asr_data.scoring.config import TokenHeadConfig
from asr_data.scoring.engine import Request
from asr_data.scoring.model_scorer import NOTHING_READ, Reading
from asr_data.scoring.prompting import as_prompted
from asr_data.scoring.step_encoding import check_separator, encode_steps
from asr_data.text.align import AlignedResponse, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, Float32, Int32, Row


class TokenRewardModel(nn.Module):
    """A decoder with a head, as ``train-scorer`` trains it."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head


class TokenHeadReadout(nn.Module):
    """The head and its transform: hidden states ``[n, hidden]`` → rewards float32 ``[n]``. The head is in float32."""

    def __init__(self, head: nn.Module, config: TokenHeadConfig) -> None:
        super().__init__()
        self.head = head
        self._config = config

    def forward(self, hidden: Tensor, _target: Tensor | None = None, /) -> Tensor:
        """Rewards; targets are not used."""
        return transform(self.head(hidden.float()), self._config)


class TokenHeadEncoder:
    """Asks for every token, or for one token per step.

    Raises:
        ScorerError: the tokenizer does not have the separator as one token where it has to be.
    """

    def __init__(self, tokenizer: Tokenizer, config: TokenHeadConfig) -> None:
        if config.steps is not None:
            check_separator(tokenizer, config.steps)
        self._tokenizer = tokenizer
        self._config = config

    def encode(self, row: Row) -> list[Reading]:
        """See :class:`asr_data.scoring.model_scorer.Encoder`."""
        row = as_prompted(row, self._config.prompt)
        if self._config.steps is not None:
            return encode_steps(row, self._tokenizer, self._config.prompt, self._config.steps)
        return encode_tokens(row, self._tokenizer)

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """The readings as they are."""
        return ByteRewards(reading.span_end, values, reading.step_end)


def encode_tokens(row: Row, tokenizer: Tokenizer) -> list[Reading]:
    """Every token of each response, and the end of the prompt as a span that ends at byte 0.

    Raises:
        RowRejected: the row cannot be tokenised.
    """
    aligned = align(row, tokenizer)
    first = len(aligned.prompt_ids)
    out = []
    for response in aligned.responses:
        if not response.covers.any() and response.missing:
            out.append(NOTHING_READ)
            continue
        tokens, span_end = covering(response)
        read = [first + int(t) for t in tokens]
        if first > 0:
            read, span_end = [first - 1, *read], np.concatenate([np.zeros(1, np.int32), span_end])
        request = Request(aligned.prompt_ids + response.ids, read)
        out.append(Reading((request,), span_end, np.zeros(0, np.int32), unread=response.missing))
    return out


def transform(logits: Tensor, config: TokenHeadConfig) -> Tensor:
    """Logits ``[..., labels]`` to rewards ``[...]``, as :class:`TokenHeadConfig` defines them."""
    first = config.indices[0]
    if config.transform == "raw":
        return logits[..., first]
    if config.transform == "sigmoid":
        return logits[..., first].sigmoid()
    probabilities = logits.softmax(dim=-1)
    if config.transform == "prob_diff":
        return probabilities[..., first] - probabilities[..., config.indices[1]]
    return probabilities[..., list(config.indices)].sum(dim=-1)


def covering(response: AlignedResponse) -> tuple[Int32, Int32]:
    """Tokens that cover text, and consecutive byte ends for them that reach the end of the text; int32 each.

    Raises:
        RowRejected: no token does.
    """
    tokens = np.flatnonzero(response.end > response.start)
    if not len(tokens):
        raise RowRejected("tokens_uncovered", "no token of the response covers any of its text")
    ends = response.end[tokens].copy()
    ends[-1] = len(response.text.encode())
    return tokens.astype(np.int32), ends
