"""A scorer whose model a server runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from asr_data.errors import ConfigError
from asr_data.scoring.config import (
    LANGUAGE_KINDS,
    BackboneConfig,
    ContrastConfig,
    ImplicitConfig,
    LabelTokenConfig,
    SequenceHeadConfig,
    TokenHeadConfig,
)
from asr_data.scoring.contexts import ContextEncoder, Contexts
from asr_data.scoring.elsewhere import with_elsewhere
from asr_data.scoring.engine import Runner
from asr_data.scoring.fingerprint import fingerprint
from asr_data.scoring.label_tokens import LabelTokenEncoder
from asr_data.scoring.language_kinds import language_encoder, may_leave_unknown, shown_by, shows, written_out
from asr_data.scoring.log_probabilities import TwoModels
from asr_data.scoring.model_scorer import Encoder, ModelScorer
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.sequence_head import SequenceHeadEncoder
from asr_data.scoring.served.agreement import CheckedRunner
from asr_data.scoring.served.local import Wanted, can_run_here, look_here, with_own_scale
from asr_data.scoring.served.runner import ServedRunner, in_loop
from asr_data.scoring.served.sides import Side, model_side, reference_side
from asr_data.scoring.served.tokens import check_tokens
from asr_data.scoring.token_head import TokenHeadEncoder
from asr_data.scoring.tokenizer import scorer_tokenizer
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import RejectedRow, Row

logger = logging.getLogger(__name__)

_MOST_DECODED = 256
"""Ids that a server is asked to decode."""


def load_served(settings: BackboneConfig, directory: Path, wanted: Wanted, first_rows: Sequence[Row]) -> ModelScorer:
    """A scorer that asks servers.

    Args:
        settings: of the scorer.
        directory: where its settings and its tokenizer are; its weights need not be there.
        wanted: what the user asked for.
        first_rows: on which the servers' readings are checked; without any, that is done on the first that are scored.

    Raises:
        EngineError: a server cannot be asked, or its readings cannot be right.
        ConfigError: a server does not give what this kind reads, or reads less than the model.
        ScorerError: what is needed of the model's files is not there.
    """
    _check_kind(settings, wanted)
    tokenizer = scorer_tokenizer(settings, directory, wanted.asked.name, hub=wanted.asked.hub, cache=wanted.asked.cache)
    local = look_here(settings, directory, tokenizer, wanted.asked.scoring, hub=wanted.asked.hub)
    if isinstance(settings, SequenceHeadConfig):
        settings = with_own_scale(settings, local)
    sides = [model_side(settings, local, wanted, tokenizer)]
    reference = settings.reference if isinstance(settings, ImplicitConfig | ContrastConfig) else None
    if reference is not None:
        sides.append(reference_side(reference, directory, wanted, tokenizer))
    runners = _checked(sides, wanted)
    info = _info(settings, sides, wanted)
    scorer = ModelScorer(
        _encoder(settings, tokenizer, shows(settings, tokenizer), reference=reference is not None),
        runners[0] if reference is None else TwoModels(*runners),
        tokenizer,
        info,
        max_length=min(side.longest for side in sides),
        vocabulary=min(side.vocabulary for side in sides),
        elsewhere=bool(info.contexts),
    )
    _check_first(scorer, sides, runners, with_elsewhere(first_rows))
    return scorer


def _check_kind(settings: BackboneConfig, wanted: Wanted) -> None:
    if isinstance(settings, TokenHeadConfig) and settings.features is not None:
        raise ConfigError(
            f"{wanted.asked.name} reads features of every token (a layer in the middle, or the distribution of the "
            "next token), which no server gives: leave out --engine"
        )
    has_reference = isinstance(settings, ImplicitConfig | ContrastConfig) and settings.reference is not None
    if isinstance(settings, ImplicitConfig) and not has_reference:
        raise ConfigError("kind 'implicit' needs the model that the policy was trained from: give it as the reference")
    if "reference" in wanted.engines and not has_reference:
        raise ConfigError(f"--engine reference=URL: this {settings.kind!r} scorer has no reference; see --reference")


def _checked(sides: Sequence[Side], wanted: Wanted) -> list[Runner]:
    """The sides' runners; those that ask servers with the check of their readings in front."""
    kind = wanted.engines["model"].settings.check
    here = kind == "files" or (
        kind == "auto"
        and can_run_here(
            [side.settings for side in sides],
            [side.local for side in sides],
            wanted.asked.scoring,
            pickles=wanted.asked.pickles,
        )
    )
    own = _Own(wanted.own)
    found: list[Runner] = []
    for number, side in enumerate(sides):
        if isinstance(side.runner, ServedRunner):
            bound = side.runner.served.settings.bound
            found.append(CheckedRunner(side.runner, own.runner(number) if here else None, bound))
        else:
            found.append(side.runner)
    return found


class _Own:
    """The same scorer, loaded here when it is first asked for."""

    def __init__(self, load: Callable[[], ModelScorer]) -> None:
        self._load = load
        self._scorer: ModelScorer | None = None

    def runner(self, number: int) -> Callable[[], Runner]:
        """What gives the runner of its first or its second model."""

        def get() -> Runner:
            scorer = self._scorer or self._load()
            self._scorer = scorer
            runner = scorer.runner
            return (runner.first, runner.second)[number] if isinstance(runner, TwoModels) else runner

        return get


def _encoder(settings: BackboneConfig, tokenizer: Tokenizer, contexts: Contexts, *, reference: bool) -> Encoder:
    if isinstance(settings, LANGUAGE_KINDS):
        return language_encoder(settings, tokenizer, contexts, reference=reference)
    encoder: Encoder
    match settings:
        case TokenHeadConfig():
            encoder = TokenHeadEncoder(tokenizer, settings)
        case SequenceHeadConfig():
            encoder = SequenceHeadEncoder(tokenizer, settings)
        case LabelTokenConfig():
            encoder = LabelTokenEncoder(tokenizer, settings)
    return encoder if contexts.are_default else ContextEncoder(encoder, contexts)


def _info(settings: BackboneConfig, sides: Sequence[Side], wanted: Wanted) -> ScorerInfo:
    engines = {
        name: dict(side.facts) for name, side in zip(("engine", "reference_engine"), sides, strict=False) if side.facts
    }
    hashed = {**settings.model_dump(mode="json"), **written_out(settings), **engines}
    return ScorerInfo(
        name=wanted.asked.name,
        kind=settings.kind,
        form=settings.form,
        fingerprint=fingerprint([path for side in sides for path in side.hashed], hashed, wanted.asked.hashes),
        settings={
            **settings.model_dump(mode="json", exclude={"backbone", "adapter", "reference"}, exclude_defaults=True),
            "recognised": wanted.asked.reason,
            **engines,
        },
        partial=may_leave_unknown(settings),
        contexts=shown_by(settings),
    )


def _check_first(scorer: ModelScorer, sides: Sequence[Side], runners: Sequence[Runner], rows: Sequence[Row]) -> None:
    """Compare the servers' tokens and readings of the first rows."""
    requests = [
        request
        for prepared in scorer.prepare(rows)
        if not isinstance(prepared, RejectedRow)
        for reading in prepared
        for request in reading.requests
    ]
    for number, (side, runner) in enumerate(zip(sides, runners, strict=True)):
        asked = [request for request in requests if request.model == number]
        if isinstance(runner, CheckedRunner) and isinstance(side.runner, ServedRunner) and asked:
            ids = asked[0].ids[:_MOST_DECODED]
            for server in side.runner.servers:
                in_loop(check_tokens(server, side.runner.served, scorer.tokenizer, ids))
            runner.check(asked)
