"""A reference model: the log-probabilities of responses, from the same engine that scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from asr_data.config import ScoringConfig
from asr_data.errors import RowRejected
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.engine import Engine, Request
from asr_data.scoring.implicit import LogProbabilityReadout
from asr_data.scoring.language_head import load_language_head
from asr_data.scoring.load import open_language_model
from asr_data.text.align import align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Float32, RejectedRow, Row

Requests: TypeAlias = tuple[Request, ...] | RejectedRow
"""What the reference is asked about a row's completions, or why it cannot be."""
LogProbabilities: TypeAlias = tuple[Float32, ...] | RejectedRow
"""Float32 ``[response tokens]`` of each of a row's completions, or why there are none."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A loaded reference model.

    Attributes:
        name: what the user asked for.
        fingerprint: sha256 over its weights.
        tokenizer: its own.
        max_length: longest prompt plus response in tokens; rows with a longer one are rejected.
        engine: gives the log-probability of each token that is asked for.
    """

    name: str
    fingerprint: str
    tokenizer: Tokenizer
    max_length: int
    engine: Engine

    @property
    def dtype(self) -> str:
        """Number format that it runs in."""
        return str(next(self.engine.backbone.parameters()).dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Kind of device that it runs on."""
        return next(self.engine.backbone.parameters()).device.type

    def prepare(self, rows: Sequence[Row]) -> list[Requests]:
        """Tokenise rows; may run in another thread than the model."""
        return [self._requests(row) for row in rows]

    def log_probabilities(
        self, rows: Sequence[Row], prepared: Sequence[Requests], on_tokens: Callable[[int], None] | None = None
    ) -> list[LogProbabilities]:
        """``log π_ref`` of every token of the responses, what a template puts around them included, in nats.

        Args:
            rows: rows of one shard; batches are composed from them alone.
            prepared: what :meth:`prepare` gave for them.
            on_tokens: called with the number of tokens done since the last call.

        Returns:
            One entry a row, in order.
        """
        asked = [() if isinstance(entry, RejectedRow) else entry for entry in prepared]
        answers = iter(self.engine.run([request for entry in asked for request in entry], on_tokens))
        found = [[next(answers) for _ in entry] for entry in asked]
        return [
            entry if isinstance(entry, RejectedRow) else _checked(row, entry, readings)
            for row, entry, readings in zip(rows, prepared, found, strict=True)
        ]

    def _requests(self, row: Row) -> Requests:
        try:
            aligned = align(row, self.tokenizer)
            first = len(aligned.prompt_ids)
            if not first:
                raise RowRejected("empty_prompt", "no token stands before the response, and its first one has no odds")
            longest = first + max(len(response.ids) for response in aligned.responses)
            if longest > self.max_length:
                message = f"{longest} tokens; the reference reads {self.max_length} (prompt plus response)"
                raise RowRejected("too_long", message)
        except RowRejected as rejected:
            return RejectedRow(row.index, rejected.code, rejected.message)
        return tuple(
            Request(aligned.prompt_ids + r.ids, list(range(first - 1, first - 1 + len(r.ids))), r.ids)
            for r in aligned.responses
        )


def _checked(row: Row, asked: Sequence[Request], readings: Sequence[Float32 | None]) -> LogProbabilities:
    known = [reading for reading in readings if reading is not None]
    if len(known) < len(asked):
        longest = max(len(request.ids) for request in asked)
        return RejectedRow(row.index, "out_of_memory", f"a sequence of {longest} tokens does not fit into memory alone")
    if not all(np.isfinite(reading).all() for reading in known):
        return RejectedRow(row.index, "non_finite_reward", "the reference gave a log-probability that is not finite")
    # Rounding may leave that of a certain token a hair above 0.
    return tuple(np.minimum(reading, np.float32(0)) for reading in known)


def load_reference(model: str | Path, scoring: ScoringConfig = ScoringConfig()) -> Reference:  # noqa: B008 - frozen
    """Load a language model as a reference.

    Args:
        model: a directory, one with nothing but an adapter among them, or a hub id; ``builtin`` is the language model
            under the built-in scorer, SmolLM2-135M-Instruct.
        scoring: dtype, device, batch budget, longest row.

    Raises:
        ScorerError: the model cannot be loaded, or is no language model.
        ConfigError: an option cannot be right.
    """
    opened = open_language_model(str(model), scoring)
    head = load_language_head(opened.decoder, opened.settings.backbone)
    asked = scoring.batch_tokens
    batch_tokens = default_batch_tokens(opened.decoder.model) if asked == "auto" else asked
    return Reference(
        name=str(model),
        fingerprint=opened.fingerprint,
        tokenizer=opened.tokenizer,
        max_length=opened.max_length,
        engine=Engine(opened.decoder.model, LogProbabilityReadout(head), batch_tokens=batch_tokens),
    )
