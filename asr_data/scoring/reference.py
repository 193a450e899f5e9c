"""The reference model's log-probabilities of responses, from the same engine that scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_data.config import ScoringConfig
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.engine import Engine, Request
from asr_data.scoring.implicit import LogProbabilityReadout
from asr_data.scoring.language_head import load_language_head
from asr_data.scoring.load import open_backbone
from asr_data.text.align import AlignedRow
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Float32


@dataclass(frozen=True, slots=True)
class Reference:
    """A loaded reference model.

    Attributes:
        name: what the user asked for.
        fingerprint: sha256 over its weights.
        tokenizer: its tokenizer; policy tokens must be its tokens.
        dtype: number format that it runs in.
        max_length: longest prompt plus response in tokens.
        engine: gives the log-probability of a request's targets.
    """

    name: str
    fingerprint: str
    tokenizer: Tokenizer
    dtype: str
    max_length: int
    engine: Engine

    def log_probabilities(
        self, rows: Sequence[AlignedRow], on_tokens: Callable[[int], None] | None = None
    ) -> list[list[Float32] | None]:
        """``log π_ref`` of each response token, in nats.

        Args:
            rows: over this model's tokenizer; prompts of at least one token.
            on_tokens: called with the number of tokens done since the last call.

        Returns:
            For each row, float32 ``[response tokens]`` of its responses; None where it is too long, has an empty
            prompt, or does not fit into memory.
        """
        asked: list[list[Request] | None] = [self._requests(row) for row in rows]
        requests = [request for entry in asked if entry is not None for request in entry]
        answers = iter(self.engine.run(requests, on_tokens))
        out: list[list[Float32] | None] = []
        for entry in asked:
            found = [] if entry is None else [next(answers) for _ in entry]
            known = [part for part in found if part is not None]
            out.append(known if entry is not None and len(known) == len(found) else None)
        return out

    def _requests(self, row: AlignedRow) -> list[Request] | None:
        first = len(row.prompt_ids)
        longest = first + max(len(response.ids) for response in row.responses)
        if first == 0 or longest > self.max_length:
            return None
        return [
            Request(row.prompt_ids + response.ids, list(range(first - 1, first - 1 + len(response.ids))), response.ids)
            for response in row.responses
        ]


def load_reference(model: str | Path, scoring: ScoringConfig = ScoringConfig()) -> Reference:  # noqa: B008 - frozen
    """Load a language model as a reference.

    Args:
        model: a directory or a hub id; ``builtin`` is the built-in scorer's backbone, SmolLM2-135M-Instruct.
        scoring: dtype, device, batch budget, longest row.

    Raises:
        ScorerError: the model cannot be loaded, or is no language model.
        ConfigError: an option cannot be right.
    """
    opened = open_backbone(str(model), scoring)
    head = load_language_head(opened.decoder, opened.settings.backbone)
    asked = scoring.batch_tokens
    batch_tokens = default_batch_tokens(opened.decoder.model) if asked == "auto" else asked
    dtype = next(opened.decoder.model.parameters()).dtype
    return Reference(
        name=str(model),
        fingerprint=opened.fingerprint,
        tokenizer=opened.tokenizer,
        dtype=str(dtype).removeprefix("torch."),
        max_length=opened.max_length,
        engine=Engine(opened.decoder.model, LogProbabilityReadout(head), batch_tokens=batch_tokens),
    )
