"""From a model's name to a scorer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.config import (
    CONFIG_NAME,
    BackboneConfig,
    HeadConfig,
    ImplicitConfig,
    LabelsConfig,
    LabelTokenConfig,
    RuleConfig,
    ScorerConfig,
    ScorerKind,
    SequenceHeadConfig,
    TokenHeadConfig,
    read_config,
)
from asr_data.scoring.decoder import Decoder, embeddings, load_decoder, max_length, pick_device, pick_dtype
from asr_data.scoring.engine import Engine, Readout, Runner
from asr_data.scoring.fingerprint import decisive_files, fingerprint, model_files
from asr_data.scoring.head import load_head
from asr_data.scoring.implicit import ImplicitEncoder, implicit_runner
from asr_data.scoring.label_tokens import LabelTokenEncoder, label_token_readout
from asr_data.scoring.labels import LabelScorer
from asr_data.scoring.locate import backbone_directory, model_directory
from asr_data.scoring.model_scorer import Encoder, ModelScorer
from asr_data.scoring.prompting import as_prompted
from asr_data.scoring.protocol import Scorer, ScorerInfo
from asr_data.scoring.rule import load_rule
from asr_data.scoring.sequence_head import SequenceHeadEncoder, SequenceHeadReadout
from asr_data.scoring.settings import find_settings, with_adapter
from asr_data.scoring.token_head import TokenHeadEncoder, TokenHeadReadout
from asr_data.scoring.tokenizer import scorer_tokenizer
from asr_data.text.probe import check_template
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Row

logger = logging.getLogger(__name__)


def load_scorer(
    model: str | Path = "builtin",
    kind: Literal["auto"] | ScorerKind = "auto",
    *,
    preset: str | None = None,
    config: ScorerConfig | None = None,
    reference: str | Path | None = None,
    scoring: ScoringConfig = ScoringConfig(),  # noqa: B008 - frozen
    revision: str | None = None,
    allow_pickle: bool = False,
    first_rows: Sequence[Row] = (),
) -> Scorer:
    """Load a reward model.

    Args:
        model: ``builtin``, a directory, or a hub id; an import path ``package.module:function`` for kind ``rule``;
            not used for kind ``labels``.
        kind: how to read it. ``auto`` takes what its ``asr_scorer.json`` says, or recognises the checkpoint.
        preset: the name of a known family (``asr-annotate scorers`` lists them) whose settings are used.
        config: settings that stand in for ``asr_scorer.json``.
        reference: the reference model of kind ``implicit``.
        scoring: dtype, device, batch budget.
        revision: of a hub id.
        allow_pickle: read weights from pickle files where there are no safetensors, with
            ``torch.load(weights_only=True)``: it makes tensors and runs no code.
        first_rows: rows that are going to be scored; whether the model's chat template takes them is seen before its
            weights are loaded.

    Raises:
        ScorerError: the checkpoint cannot be read as a reward model.
        ConfigError: an option cannot be right.
    """
    if config is not None and preset is not None:
        raise ConfigError("give either a preset or settings, not both")
    if config is None and kind == "labels":
        if str(model) != "builtin":
            raise ConfigError(f"kind 'labels' takes the data set's own labels and no model; leave out {model}")
        config = LabelsConfig()
    elif config is None and kind == "rule":
        config = RuleConfig(function=str(model))
    if isinstance(config, LabelsConfig | RuleConfig):
        return _without_model(config, kind)
    directory = model_directory(str(model), revision, pickles=allow_pickle)
    settings, reason = find_settings(directory, preset, config, pickles=allow_pickle)
    if kind not in ("auto", settings.kind):
        raise ConfigError(f"{model} is a {settings.kind!r} scorer, but kind {kind!r} was asked for")
    if isinstance(settings, LabelsConfig | RuleConfig):
        raise ScorerError(f"{directory}: kind {settings.kind!r} is chosen with --kind, never by a model's settings")
    settings = with_adapter(settings, directory)
    if reference is not None:
        if not isinstance(settings, ImplicitConfig):
            raise ConfigError(f"a reference is for kind 'implicit'; {model} is a {settings.kind!r} scorer")
        settings = settings.model_copy(update={"reference": str(reference)})
    return _model_scorer(settings, directory, str(model), scoring, reason, first_rows, pickles=allow_pickle)


def _model_scorer(
    settings: BackboneConfig,
    directory: Path,
    name: str,
    scoring: ScoringConfig,
    reason: str,
    first_rows: Sequence[Row],
    *,
    pickles: bool,
) -> ModelScorer:
    device = pick_device(scoring.device)
    dtype = pick_dtype(scoring.dtype, device)
    tokenizer = scorer_tokenizer(settings, directory, name)
    if settings.prompt.template is None:
        check_template(tokenizer, [as_prompted(row, settings.prompt) for row in first_rows])
    decoder = load_decoder(settings, directory, device, dtype, pickles=pickles)
    if isinstance(settings, SequenceHeadConfig):
        settings = _normalized(settings, decoder.model)
    asked = scoring.batch_tokens
    batch_tokens = default_batch_tokens(decoder.model) if asked == "auto" else asked
    encoder, runner = _kind(settings, decoder, tokenizer, dtype, batch_tokens)
    facts: Mapping[str, Any] = {
        **settings.model_dump(mode="json", exclude={"backbone", "adapter", "reference"}, exclude_defaults=True),
        "recognised": reason,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
        "batch_tokens": batch_tokens,
        "attention": runner.attention,
    }
    files = model_files(settings, directory)
    if isinstance(settings, ImplicitConfig) and settings.reference is not None:
        files += decisive_files(backbone_directory(settings.reference, directory))
    info = ScorerInfo(
        name=name,
        kind=settings.kind,
        form=settings.form,
        fingerprint=fingerprint(files, settings.model_dump(mode="json")),
        settings=facts,
    )
    longest, vocabulary = max_length(decoder.model, scoring, name), embeddings(decoder.model)
    if vocabulary is not None and len(tokenizer.hf) > vocabulary:
        logger.warning(
            "tokenizer %s has %d tokens and the model %d: rows that need the rest are rejected",
            tokenizer.name,
            len(tokenizer.hf),
            vocabulary,
        )
    return ModelScorer(encoder, runner, tokenizer, info, max_length=longest, vocabulary=vocabulary)


def _kind(
    settings: BackboneConfig, decoder: Decoder, tokenizer: Tokenizer, dtype: torch.dtype, batch_tokens: int
) -> tuple[Encoder, Runner]:
    """How a kind asks, and what answers."""
    encoder: Encoder
    readout: Readout
    match settings:
        case TokenHeadConfig():
            encoder = TokenHeadEncoder(tokenizer, settings)
            readout = TokenHeadReadout(_head(settings.head, decoder), settings)
        case SequenceHeadConfig():
            encoder = SequenceHeadEncoder(tokenizer, settings)
            readout = SequenceHeadReadout(_head(settings.head, decoder), settings)
        case LabelTokenConfig():
            encoder = LabelTokenEncoder(tokenizer, settings)
            readout = label_token_readout(settings, decoder, tokenizer)
        case ImplicitConfig():
            encoder = ImplicitEncoder(tokenizer, settings)
            reference = _reference(settings, decoder, dtype)
            return encoder, implicit_runner(settings, decoder, reference, batch_tokens=batch_tokens)
    return encoder, Engine(decoder.model, readout, batch_tokens=batch_tokens)


def _head(config: HeadConfig, decoder: Decoder) -> nn.Module:
    head = load_head(config, decoder.directory, set(decoder.extra), decoder.hidden, pickles=decoder.pickles)
    return head.to(decoder.device)


def _normalized(settings: SequenceHeadConfig, model: nn.Module) -> SequenceHeadConfig:
    """The settings with the checkpoint's own mean and standard deviation where they ask for them."""
    found = {name: getattr(model.config, name, default) for name, default in (("mean", 0.0), ("std", 1.0))}
    asked = {name: float(value) for name, value in found.items() if getattr(settings, name) == "config"}
    return SequenceHeadConfig.model_validate({**settings.model_dump(), **asked})


def _reference(settings: ImplicitConfig, policy: Decoder, dtype: torch.dtype) -> Decoder:
    if settings.reference is None:
        raise ConfigError("kind 'implicit' needs the model that the policy was trained from: give it as the reference")
    directory = backbone_directory(settings.reference, policy.directory)
    plain = ImplicitConfig(reference=settings.reference)
    return load_decoder(plain, directory, policy.device, dtype, pickles=policy.pickles)


def _without_model(config: LabelsConfig | RuleConfig, kind: str) -> Scorer:
    if kind not in ("auto", config.kind):
        raise ConfigError(f"the settings are of kind {config.kind!r}, but kind {kind!r} was asked for")
    if isinstance(config, LabelsConfig):
        return LabelScorer(config)
    return load_rule(config)


def load_scorer_tokenizer(model: str) -> Tokenizer:
    """The tokenizer of a scorer, without its weights."""
    directory = model_directory(model, None, pickles=False)
    if not (directory / CONFIG_NAME).is_file():
        return scorer_tokenizer(with_adapter(ImplicitConfig(), directory), directory, model)
    settings = read_config(directory / CONFIG_NAME)
    if isinstance(settings, LabelsConfig | RuleConfig):
        raise ScorerError(f"{directory}: kind {settings.kind!r} has no tokenizer")
    return scorer_tokenizer(settings, directory, model)
