"""The reference model's log-probabilities of responses, from the same engine that scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from asr_data.config import ScoringConfig
from asr_data.engines import ServedModel
from asr_data.file_hashes import FileHashes
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.config import ImplicitConfig
from asr_data.scoring.decoder import load_decoder, max_length, pick_device, pick_dtype, spread_of
from asr_data.scoring.engine import Engine, Request, Runner
from asr_data.scoring.fingerprint import fingerprint, model_files
from asr_data.scoring.language_head import load_language_head
from asr_data.scoring.locate import model_directory, packaged_file
from asr_data.scoring.log_probabilities import LogProbabilityReadout
from asr_data.scoring.protocol import Measured
from asr_data.scoring.served.agreement import CheckedRunner
from asr_data.scoring.served.local import can_run_here
from asr_data.scoring.served.runner import ServedRunner
from asr_data.scoring.served.sides import language_side
from asr_data.scoring.settings import builtin_backbone
from asr_data.scoring.tokenizer import scorer_tokenizer
from asr_data.text.align import AlignedRow
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Float32


@dataclass(frozen=True, slots=True)
class ReferenceModel:
    """A loaded reference model.

    Attributes:
        name: what the user asked for.
        fingerprint: sha256 over its weights.
        tokenizer: its tokenizer; policy tokens must be its tokens.
        dtype: number format that it runs in.
        vocabulary: how many token ids it knows.
        max_length: longest prompt plus response in tokens.
        engine: gives the log-probability of a request's targets.
    """

    name: str
    fingerprint: str
    tokenizer: Tokenizer
    dtype: str
    vocabulary: int
    max_length: int
    engine: Runner

    @property
    def measured(self) -> Mapping[str, float]:
        """See :class:`asr_data.scoring.protocol.Measured`."""
        found = self.engine.measured if isinstance(self.engine, Measured) else {}
        return {f"logprobs_{name}": value for name, value in found.items()}

    def log_probabilities(
        self, rows: Sequence[AlignedRow], on_tokens: Callable[[int], None] | None = None
    ) -> list[list[Float32] | None]:
        """``log π_ref`` of each response token, in nats; a response that several rows have is read once.

        Args:
            rows: over this model's tokenizer; prompts of at least one token.
            on_tokens: called with the number of tokens done since the last call.

        Returns:
            For each row, float32 ``[response tokens]`` of its responses; None where it is too long, has an empty
            prompt, holds a token that the model has no embedding for, or does not fit into memory.
        """
        asked: list[list[Request] | None] = [self._requests(row) for row in rows]
        requests = {_key(request): request for entry in asked if entry is not None for request in entry}
        answers = dict(zip(requests, self.engine.run(list(requests.values()), on_tokens), strict=True))
        out: list[list[Float32] | None] = []
        for entry in asked:
            found = [] if entry is None else [answers[_key(request)] for request in entry]
            known = [part for part in found if part is not None]
            out.append(known if entry is not None and len(known) == len(found) else None)
        return out

    def _requests(self, row: AlignedRow) -> list[Request] | None:
        first = len(row.prompt_ids)
        longest = first + max(len(response.ids) for response in row.responses)
        ids = max((i for part in (row.prompt_ids, *(r.ids for r in row.responses)) for i in part), default=0)
        if first == 0 or longest > self.max_length or ids >= self.vocabulary:
            return None
        return [
            Request(row.prompt_ids + response.ids, list(range(first - 1, first - 1 + len(response.ids))), response.ids)
            for response in row.responses
        ]


def _key(request: Request) -> tuple[int, bytes]:
    """Where the response begins, and all tokens: what is read follows from both."""
    return request.read[0], np.asarray(request.ids, dtype=np.int64).tobytes()


def load_reference(
    model: str | Path,
    scoring: ScoringConfig = ScoringConfig(),  # noqa: B008 - frozen
    *,
    cache: bool = True,
    verify: bool = False,
    engine: ServedModel | None = None,
    offload_folder: Path | None = None,
) -> ReferenceModel:
    """Load a language model as a reference.

    Args:
        model: a directory or a hub id; ``builtin`` is the built-in scorer's backbone, SmolLM2-135M-Instruct.
        scoring: dtype, device, batch budget, longest row.
        cache: keep the backbone of the built-in model, once dequantised, and hashes of large files in the user's cache
            directory.
        verify: hash every file, whatever is known of it.
        engine: servers that run it; the directory then needs no weights.
        offload_folder: where weights go that ``scoring.device_map`` puts on disk.

    Raises:
        EngineError: a server cannot be asked.
        ScorerError: the model cannot be loaded, or is not a language model.
        ConfigError: an option is invalid.
    """
    if engine is not None:
        return _served(str(model), scoring, engine, FileHashes(remember=cache, verify=verify), cache=cache)
    name = str(model)
    device = pick_device(scoring.device)
    settings = ImplicitConfig(backbone=builtin_backbone() if name == "builtin" else None)
    directory = model_directory(name, None, pickles=False)
    dtype = pick_dtype(scoring.dtype, device)
    spread = spread_of(scoring, offload_folder)
    decoder = load_decoder(settings, directory, device, dtype, pickles=False, cache=cache, spread=spread)
    head = load_language_head(decoder)
    asked = scoring.batch_tokens
    batch_tokens = default_batch_tokens(decoder.model) if asked == "auto" else asked
    # The built-in scorer's adapter and head are no part of its reference.
    builtin = [packaged_file(builtin_backbone())] if name == "builtin" else None
    files = builtin or model_files(settings, directory, decoder.checkpoint, pickles=False)
    return ReferenceModel(
        name=name,
        fingerprint=fingerprint(files, {}, FileHashes(remember=cache, verify=verify)),
        tokenizer=scorer_tokenizer(settings, directory, name, cache=cache),
        dtype=str(next(decoder.model.parameters()).dtype).removeprefix("torch."),
        vocabulary=min(decoder.vocabulary, head.vocabulary),
        max_length=max_length(decoder.model, scoring, name),
        engine=Engine(decoder.model, LogProbabilityReadout(head), batch_tokens=batch_tokens, entry=decoder.entry),
    )


def _served(
    name: str, scoring: ScoringConfig, engine: ServedModel, hashes: FileHashes, *, cache: bool
) -> ReferenceModel:
    settings = ImplicitConfig(backbone=builtin_backbone() if name == "builtin" else None)
    directory = model_directory(name, None, pickles=False, weights=False)
    tokenizer = scorer_tokenizer(settings, directory, name, cache=cache)
    side = language_side(settings, name, directory, engine, scoring, tokenizer)
    asked = cast(ServedRunner, side.runner)
    own = partial(_own_engine, name, scoring, cache=cache)
    here = engine.settings.check == "files" or (
        engine.settings.check == "auto" and can_run_here([settings], [side.local], scoring, pickles=False)
    )
    return ReferenceModel(
        name=name,
        fingerprint=fingerprint(side.hashed, {"engine": dict(side.facts)}, hashes),
        tokenizer=tokenizer,
        dtype=f"as served by {side.facts['server']}",
        vocabulary=side.vocabulary,
        max_length=side.longest,
        engine=CheckedRunner(asked, own if here else None, engine.settings.bound),
    )


def _own_engine(name: str, scoring: ScoringConfig, *, cache: bool) -> Runner:
    return load_reference(name, scoring, cache=cache).engine
