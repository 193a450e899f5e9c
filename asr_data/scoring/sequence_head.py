"""The ``seq_head`` kind: a sequence reward model, read for every prefix of a response.

Such a head was trained at the last token of a finished conversation, and what it says in mid-sentence is noise (arXiv
2604.22981). ``branch`` finishes the conversation at every boundary: the tokens up to there, then the closing tokens
that stand at the response's own end. The requests share their prefixes, so an engine that runs token trees computes
the response once and each closing as a short branch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from asr_data.boundaries import BoundaryKind, boundary_kinds
from asr_data.errors import RowRejected
from asr_data.response import code_points
from asr_data.scoring.config import Boundary, SequenceHeadConfig
from asr_data.scoring.engine import Request
from asr_data.scoring.model_scorer import NOTHING_READ, Reading
from asr_data.scoring.prompting import as_prompted
from asr_data.text.align import AlignedResponse, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, Float32, Int32, Row


class SequenceHeadReadout(nn.Module):
    """``(z[index] − mean) / std``: hidden states ``[n, hidden]`` → rewards float32 ``[n]``. The head is in float32.

    ``mean`` and ``std`` of the config must be numbers here.
    """

    def __init__(self, head: nn.Module, config: SequenceHeadConfig) -> None:
        super().__init__()
        self.head = head
        self._index, self._mean, self._std = config.index, float(config.mean), float(config.std)

    def forward(self, hidden: Tensor, _target: Tensor | None = None, /) -> Tensor:
        """Rewards; targets are not used."""
        rewards: Tensor = (self.head(hidden.float())[..., self._index] - self._mean) / self._std
        return rewards


class SequenceHeadEncoder:
    """Asks for the prefixes of each response, or for its tokens, and for the whole conversation.

    Where a completion has several messages, boundaries lie in everything that the assistant wrote, and a prefix is
    closed as the last message is.
    """

    def __init__(self, tokenizer: Tokenizer, config: SequenceHeadConfig) -> None:
        self._tokenizer = tokenizer
        self._config = config

    def encode(self, row: Row) -> list[Reading]:
        """See :class:`asr_data.scoring.model_scorer.Encoder`; the last value is the whole conversation's."""
        aligned = align(as_prompted(row, self._config.prompt), self._tokenizer)
        return [self._response(aligned.prompt_ids, response) for response in aligned.responses]

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """The readings of the spans, and the whole conversation's as the sequence score."""
        return ByteRewards(reading.span_end, values[: len(reading.span_end)], reading.step_end, float(values[-1]))

    def _response(self, prompt: list[int], response: AlignedResponse) -> Reading:
        written = np.flatnonzero(response.end > response.start)
        if not len(written):
            if response.missing:
                return NOTHING_READ
            raise RowRejected("tokens_uncovered", "no token of the response covers any of its text")
        last = self._ends(response, written)
        ends = response.end[last].copy()
        ends[-1] = len(response.text.encode())
        ids = prompt + response.ids
        closing = response.ids[int(written[-1]) + 1 :]
        whole = Request(ids, [self._trained_position(ids)])
        steps = np.zeros(0, dtype=np.int32)
        if self._config.read != "branch":
            read = [len(prompt) + int(t) for t in last]
            before = [len(prompt) - 1] if prompt else []
            asked = (Request(ids, before + read), whole)
            return Reading(asked, with_start(ends, bool(prompt)), steps, unread=response.missing)
        cuts = [len(prompt)] if prompt else []
        cuts += [len(prompt) + int(t) + 1 for t in last[:-1]]
        branches = [ids[:cut] + closing for cut in cuts]
        requests = [Request(branch, [self._trained_position(branch)]) for branch in branches]
        return Reading(
            (*requests, whole), with_start(ends, bool(prompt)), ends.astype(np.int32), unread=response.missing
        )

    def _ends(self, response: AlignedResponse, written: NDArray[np.intp]) -> NDArray[np.intp]:
        """The last token of each prefix."""
        if self._config.read == "every":
            return written
        return boundary_tokens(response, written, self._config.boundary)

    def _trained_position(self, ids: list[int]) -> int:
        position = len(ids) - 1
        if self._config.pooled == "before_eos":
            while position > 0 and ids[position] == self._tokenizer.hf.eos_token_id:
                position -= 1
        return position


def boundary_tokens(response: AlignedResponse, written: NDArray[np.intp], boundary: Boundary) -> NDArray[np.intp]:
    """The last token before each boundary, and the last one of the response.

    Args:
        response: with its tokens.
        written: the tokens that hold text.
        boundary: where prefixes end.
    """
    if isinstance(boundary, int):
        inner = written[boundary - 1 :: boundary]
    else:
        starts = boundary_kinds(response.text, code_points(response.text, response.start))
        cut = starts[written[1:]] >= BoundaryKind[boundary.upper()]
        cut |= np.diff(written) > 1  # another message begins
        inner = written[:-1][cut]
    return np.unique(np.append(inner, written[-1]))


def with_start(ends: Int32, prompt: bool) -> Int32:
    """With a first span that ends at byte 0, for the value at the end of the prompt."""
    return np.concatenate([np.zeros(int(prompt), dtype=np.int32), ends]).astype(np.int32)
