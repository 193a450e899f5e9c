"""The models of a scorer, one or two, each behind servers or, as a reference may be, loaded here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from asr_data.config import ScoringConfig
from asr_data.engines import ServedModel
from asr_data.errors import ScorerError
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.config import (
    BackboneConfig,
    ImplicitConfig,
    LabelTokenConfig,
    SequenceHeadConfig,
    TokenHeadConfig,
)
from asr_data.scoring.decoder import load_decoder, max_length, pick_device, pick_dtype
from asr_data.scoring.engine import Engine, Runner
from asr_data.scoring.fingerprint import decisive_files, model_files
from asr_data.scoring.label_tokens import label_id
from asr_data.scoring.language_head import load_language_head
from asr_data.scoring.locate import backbone_directory
from asr_data.scoring.log_probabilities import LogProbabilityReadout
from asr_data.scoring.sequence_head import SequenceHeadReadout
from asr_data.scoring.served.choice import first_that_answers, head_routes, label_route, log_probability_route
from asr_data.scoring.served.local import LocalFiles, Wanted, look_here, own_head
from asr_data.scoring.served.routes import Route
from asr_data.scoring.served.runner import ServedRunner, in_loop
from asr_data.scoring.served.server import Server, find_servers, limit
from asr_data.scoring.token_head import TokenHeadReadout
from asr_data.text.tokenizer import Tokenizer

_PROBE: Final = "Two and two are four."
_WIDEST_HEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Side:
    """One model.

    Attributes:
        runner: answers requests.
        longest: its longest request in tokens.
        vocabulary: how many token ids it knows.
        hashed: its files that decide rewards.
        settings: of the model.
        local: its files.
        facts: for the manifest; empty where the model is loaded here.
    """

    runner: Runner
    longest: int
    vocabulary: int
    hashed: list[Path]
    settings: BackboneConfig
    local: LocalFiles
    facts: Mapping[str, Any] = field(default_factory=dict)


def model_side(settings: BackboneConfig, local: LocalFiles, wanted: Wanted, tokenizer: Tokenizer) -> Side:
    """The scorer's own model, behind the servers of ``model``.

    Args:
        settings: of the scorer; numbers where a sequence head asks for config.json's.
        local: its files here.
        wanted: what the user asked for.
        tokenizer: of the model.
    """
    served = wanted.engines["model"]
    servers = in_loop(find_servers(served, wanted.asked.name))
    route = _route(settings, servers, served, local, wanted, tokenizer)
    hashed = model_files(settings, local.directory, local.checkpoint, pickles=wanted.asked.pickles)
    return _served(wanted.asked.name, servers, route, served, wanted.asked.scoring, settings, local, hashed)


def reference_side(name: str, directory: Path, wanted: Wanted, tokenizer: Tokenizer) -> Side:
    """The second model, behind the servers of ``reference``, or loaded here.

    Args:
        name: as the user or the scorer's settings say.
        directory: of the scorer.
        wanted: what the user asked for.
        tokenizer: of both.
    """
    settings = ImplicitConfig(reference=name)
    served = wanted.engines.get("reference")
    if served is None:
        return _loaded(settings, backbone_directory(name, directory, hub=wanted.asked.reference_hub), wanted, name)
    try:
        folder: Path | None = backbone_directory(name, directory)
    except ScorerError:  # it is only at the server
        folder = None
    return language_side(settings, name, folder, served, wanted.asked.scoring, tokenizer, pickles=wanted.asked.pickles)


def language_side(
    settings: ImplicitConfig,
    name: str,
    directory: Path | None,
    served: ServedModel,
    scoring: ScoringConfig,
    tokenizer: Tokenizer,
    *,
    pickles: bool = False,
) -> Side:
    """A language model behind servers.

    Args:
        settings: of the model.
        name: as the user says.
        directory: of its files; None where there are none here.
        served: its servers.
        scoring: longest row.
        tokenizer: of the model.
        pickles: whether weights may come from pickle files.
    """
    folder = Path(name) if directory is None else directory
    local = look_here(settings, folder, tokenizer, scoring, hub=False)
    hashed = [] if directory is None else model_files(settings, folder, local.checkpoint, pickles=pickles)
    servers = in_loop(find_servers(served, name))
    return _served(name, servers, log_probability_route(servers[0]), served, scoring, settings, local, hashed)


def _served(
    name: str,
    servers: Sequence[Server],
    route: Route,
    served: ServedModel,
    scoring: ScoringConfig,
    settings: BackboneConfig,
    local: LocalFiles,
    hashed: list[Path],
) -> Side:
    longest = limit(servers, route.beyond, local.context, name, is_asked=scoring.max_length is not None)
    numbers = longest * max(local.hidden or 0, _WIDEST_HEAD)
    first = servers[0]
    facts = {
        "server": f"{first.program} {first.version}",
        "model": first.model,
        "asked": route.name,
        "max_length": longest,
    }
    runner = ServedRunner(servers, route, served, most_numbers=numbers)
    return Side(runner, longest, local.vocabulary, hashed, settings, local, facts)


def _loaded(settings: ImplicitConfig, directory: Path, wanted: Wanted, name: str) -> Side:
    device = pick_device(wanted.asked.scoring.device)
    dtype = pick_dtype(wanted.asked.scoring.dtype, device)
    decoder = load_decoder(settings, directory, device, dtype, pickles=wanted.asked.pickles)
    head = load_language_head(decoder)
    asked = wanted.asked.scoring.batch_tokens
    batch_tokens = default_batch_tokens(decoder.model) if asked == "auto" else asked
    return Side(
        runner=Engine(decoder.model, LogProbabilityReadout(head), batch_tokens=batch_tokens, entry=decoder.entry),
        longest=max_length(decoder.model, wanted.asked.scoring, name),
        vocabulary=min(decoder.vocabulary, head.vocabulary),
        hashed=decisive_files(directory, pickles=wanted.asked.pickles),
        settings=settings,
        local=LocalFiles(directory, directory, decoder.vocabulary, None),
    )


def _route(
    settings: BackboneConfig,
    servers: Sequence[Server],
    served: ServedModel,
    local: LocalFiles,
    wanted: Wanted,
    tokenizer: Tokenizer,
) -> Route:
    """How the servers are asked for what this kind reads."""
    if isinstance(settings, TokenHeadConfig | SequenceHeadConfig):
        head = own_head(settings, local, pickles=wanted.asked.pickles)
        finish = _readout(settings, torch.nn.Identity())
        own = None if head is None else _readout(settings, head)
        routes = head_routes(servers[0], settings, finish, own, local.hidden)
        probe = tokenizer.encode(_PROBE, add_special_tokens=False).ids
        return first_that_answers(servers, routes, served, probe, len(probe) * max(local.hidden or 0, _WIDEST_HEAD))
    if isinstance(settings, LabelTokenConfig):
        good = label_id(tokenizer, settings.good, settings.good_id, local.vocabulary)
        bad = label_id(tokenizer, settings.bad, settings.bad_id, local.vocabulary)
        if good == bad:
            raise ScorerError(f"the good and the bad label are the same token, {good}")
        return label_route(servers[0], settings, good, bad)
    return log_probability_route(servers[0])


def _readout(settings: TokenHeadConfig | SequenceHeadConfig, head: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """From what the head reads, or with Identity from its outputs, to rewards."""
    if isinstance(settings, TokenHeadConfig):
        return TokenHeadReadout(head, settings)
    return SequenceHeadReadout(head, settings)
