"""A scorer that runs a model: rows to requests, readings to rewards over bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from asr_data.errors import RowRejected
from asr_data.response import rewards_in_response, unknown_rewards, without
from asr_data.scoring.elsewhere import with_elsewhere
from asr_data.scoring.engine import Request, Runner
from asr_data.scoring.protocol import Measured, Scored, ScorerInfo
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, Float32, Int32, RejectedRow, Row


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model is asked about one response, and what the answers stand for.

    Attributes:
        requests: the sequences; their readings, one after the other, are the rewards of the spans.
        span_end: int32 ``[spans]``, see :class:`asr_data.types.ByteRewards`.
        step_end: int32 ``[steps]``.
        contents_only: whether the spans are over the contents alone, and the rest of the response text is unknown.
        unread: stretches of bytes of the response text that the model's chat template leaves out: unknown, too.
    """

    requests: tuple[Request, ...]
    span_end: Int32
    step_end: Int32
    contents_only: bool = False
    unread: tuple[tuple[int, int], ...] = ()


NOTHING_READ = Reading((), np.zeros(0, np.int32), np.zeros(0, np.int32))
"""For a response of which the model reads nothing: all of it is unknown."""


class Encoder(Protocol):
    """How a kind of reward model wants to be asked."""

    def encode(self, row: Row) -> list[Reading]:
        """What to ask about each completion of a row.

        Raises:
            RowRejected: the row cannot be put to this model.
        """
        ...

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """Rewards from the readings of all requests, float32 ``[spans]``."""
        ...


class ModelScorer:
    """Scores rows with a model; see :class:`asr_data.scoring.protocol.Scorer`.

    Args:
        encoder: of the model's kind.
        runner: the engine.
        tokenizer: the model's tokenizer.
        info: for the manifest.
        max_length: longest request in tokens; rows with a longer one are rejected.
        vocabulary: how many token ids the model has embeddings for; rows with others are rejected.
        elsewhere: whether the encoder wants to see another row beside each.
    """

    def __init__(
        self,
        encoder: Encoder,
        runner: Runner,
        tokenizer: Tokenizer,
        info: ScorerInfo,
        *,
        max_length: int,
        vocabulary: int,
        elsewhere: bool = False,
    ) -> None:
        self.encoder = encoder
        self.runner = runner
        self.tokenizer = tokenizer
        self.info = info
        self._max_length = max_length
        self._vocabulary = vocabulary
        self._elsewhere = elsewhere

    @property
    def measured(self) -> Mapping[str, float]:
        """See :class:`asr_data.scoring.protocol.Measured`: what its runner has measured."""
        return self.runner.measured if isinstance(self.runner, Measured) else {}

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:
        """Score rows; see :class:`asr_data.scoring.protocol.Scorer`."""
        return self.score_prepared(rows, self.prepare(rows), on_tokens)

    def prepare(self, rows: Sequence[Row]) -> list[list[Reading] | RejectedRow]:
        """Readings of each row, or why there are none. What several pairs of an input row ask for is one object."""
        encoded = [self._encode(row) for row in (with_elsewhere(rows) if self._elsewhere else rows)]
        return _asked_once(rows, encoded)

    def tokens(self, prepared: Sequence[list[Reading] | RejectedRow]) -> int:
        """Tokens of all requests, what sequences share each time that it occurs."""
        return sum(len(request.ids) for request in _requests(prepared))

    def score_prepared(
        self,
        rows: Sequence[Row],
        prepared: Sequence[list[Reading] | RejectedRow],
        on_tokens: Callable[[int], None] | None = None,
    ) -> list[Scored]:
        """Score rows from their readings."""
        requests = list(_requests(prepared))
        readings = self.runner.run(requests, on_tokens)
        answers = {id(request): reading for request, reading in zip(requests, readings, strict=True)}
        out: list[Scored] = []
        for row, entry in zip(rows, prepared, strict=True):
            if isinstance(entry, RejectedRow):
                out.append(entry)
                continue
            values = [[answers[id(request)] for request in reading.requests] for reading in entry]
            out.append(self._collect(row, entry, values))
        return out

    def _encode(self, row: Row) -> list[Reading] | RejectedRow:
        try:
            readings = self.encoder.encode(row)
            longest = max((len(request.ids) for reading in readings for request in reading.requests), default=0)
            if longest > self._max_length:
                raise RowRejected(
                    "too_long", f"{longest} tokens; this scorer reads {self._max_length} (prompt plus response)"
                )
            for reading in readings:
                for request in reading.requests:
                    self._check_ids(request.ids)
        except RowRejected as rejected:
            return RejectedRow(row.index, rejected.code, rejected.message)
        return readings

    def _check_ids(self, ids: Sequence[int]) -> None:
        largest = max(ids)
        if largest >= self._vocabulary:
            token = self.tokenizer.hf.convert_ids_to_tokens(largest)
            raise RowRejected(
                "scorer_error",
                f"token {token!r} has the id {largest}, but the model has embeddings for {self._vocabulary} ids; its "
                f"tokenizer has {len(self.tokenizer.hf)}",
            )

    def _collect(self, row: Row, readings: Sequence[Reading], values: Sequence[Sequence[Float32 | None]]) -> Scored:
        out = []
        for completion, reading, parts in zip(row.completions, readings, values, strict=True):
            if not reading.requests:
                out.append(unknown_rewards(completion.content))
                continue
            known = [part for part in parts if part is not None]
            if len(known) < len(parts):
                longest = max(len(request.ids) for request in reading.requests)
                message = f"a sequence of {longest} tokens does not fit into memory by itself"
                return RejectedRow(row.index, "out_of_memory", message)
            read = np.concatenate(known)
            if np.isnan(read).any():  # else it would be taken for what is unknown to a scorer that may leave spans out
                message = f"the model gave NaN at {int(np.isnan(read).sum())} of {len(read)} positions"
                return RejectedRow(row.index, "non_finite_reward", message)
            rewards = self.encoder.rewards(reading, read)
            if reading.contents_only:
                rewards = rewards_in_response(rewards, completion.content)
            out.append(without(rewards, reading.unread))
        return tuple(out)


def _requests(prepared: Sequence[list[Reading] | RejectedRow]) -> Iterator[Request]:
    """Each request once."""
    seen: set[int] = set()
    for entry in prepared:
        if not isinstance(entry, RejectedRow):
            for request in (one for reading in entry for one in reading.requests):
                if id(request) not in seen:
                    seen.add(id(request))
                    yield request


def _asked_once(
    rows: Sequence[Row], prepared: Sequence[list[Reading] | RejectedRow]
) -> list[list[Reading] | RejectedRow]:
    """The readings, with one object for all requests of an input row's pairs that ask the same.

    An answer is in several pairs. Where nothing that is read depends on the other answer, it is read once; where
    something does, that alone is read again.
    """
    seen: dict[Any, Request] = {}
    index: int | None = None
    out: list[list[Reading] | RejectedRow] = []
    for row, entry in zip(rows, prepared, strict=True):
        if row.pair is None or isinstance(entry, RejectedRow):
            out.append(entry)
            continue
        if row.index != index:
            seen, index = {}, row.index
        out.append([replace(reading, requests=_known(reading.requests, seen)) for reading in entry])
    return out


def _known(requests: Sequence[Request], seen: dict[Any, Request]) -> tuple[Request, ...]:
    keys = [(r.model, tuple(r.ids), tuple(r.read), None if r.target is None else tuple(r.target)) for r in requests]
    return tuple(seen.setdefault(key, request) for key, request in zip(keys, requests, strict=True))
