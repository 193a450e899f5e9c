"""From a model's name to a scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import pyarrow as pa
import torch
from torch import nn

from asr_data.config import ScoringConfig
from asr_data.engines import EngineRole, ServedModel
from asr_data.errors import ConfigError, RowRejected, ScorerError
from asr_data.file_hashes import FileHashes
from asr_data.scoring.asked import Asked
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.config import (
    CONFIG_NAME,
    LANGUAGE_KINDS,
    BackboneConfig,
    ContrastConfig,
    DiffConfig,
    HeadConfig,
    ImplicitConfig,
    LabelsConfig,
    LabelTokenConfig,
    LanguageModelConfig,
    PackagedBackbone,
    ScorerConfig,
    ScorerKind,
    SequenceHeadConfig,
    TokenHeadConfig,
    WithoutModel,
    read_config,
)
from asr_data.scoring.context_columns import check_columns
from asr_data.scoring.context_config import ContextConfig, Sides
from asr_data.scoring.contexts import ContextEncoder, Contexts
from asr_data.scoring.decoder import Decoder, load_decoder, max_length, pick_device, pick_dtype, spread_of
from asr_data.scoring.diff import DiffScorer
from asr_data.scoring.elsewhere import with_elsewhere
from asr_data.scoring.engine import Engine, Readout, Runner
from asr_data.scoring.feature_config import FeatureConfig
from asr_data.scoring.feature_head import FeatureEncoder, FeatureHead, FeatureReadout
from asr_data.scoring.fingerprint import decisive_files, fingerprint, model_files
from asr_data.scoring.head import load_head
from asr_data.scoring.label_tokens import LabelTokenEncoder, label_token_readout
from asr_data.scoring.labels import LabelScorer
from asr_data.scoring.language_head import load_language_head
from asr_data.scoring.language_kinds import (
    language_encoder,
    may_leave_unknown,
    partner_of_sides,
    partner_shown,
    shown_by,
    shows,
    written_out,
)
from asr_data.scoring.layer_states import WithLayer
from asr_data.scoring.locate import backbone_directory, is_hub_id, model_directory, packaged_file
from asr_data.scoring.log_probabilities import language_runner
from asr_data.scoring.model_scorer import Encoder, ModelScorer
from asr_data.scoring.prompting import as_prompted
from asr_data.scoring.protocol import Scorer, ScorerInfo
from asr_data.scoring.quantised import quantiser
from asr_data.scoring.rule import load_rule, rule_config
from asr_data.scoring.sequence_head import SequenceHeadEncoder, SequenceHeadReadout
from asr_data.scoring.served.load import load_served
from asr_data.scoring.served.local import Wanted
from asr_data.scoring.settings import find_settings, require_settings, with_adapter, with_asked, with_builtin
from asr_data.scoring.spread import Spread, placed
from asr_data.scoring.token_head import TokenHeadEncoder, TokenHeadReadout
from asr_data.scoring.tokenizer import scorer_tokenizer
from asr_data.text.probe import check_template
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Row


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
    allow_hub: bool = False,
    cache: bool = True,
    verify: bool = False,
    offload_folder: Path | None = None,
    first_rows: Sequence[Row] = (),
    schema: pa.Schema | None = None,
    context: ContextConfig | None = None,
    against: ContextConfig | None = None,
    sides: Sides | None = None,
    answer: str | None = None,
    engines: Mapping[EngineRole, ServedModel] = MappingProxyType({}),
) -> Scorer:
    """Load a reward model.

    Args:
        model: ``builtin``, a directory, or a hub id; for kind ``rule`` an import path
            ``package.module:function`` or a file, ``./rules.py:function``; not used for kinds ``labels`` and ``diff``.
        kind: how to read it. ``auto`` follows its ``asr_scorer.json``, or recognises the checkpoint.
        preset: the name of a known family (``asr-annotate scorers`` lists them) whose settings are used.
        config: settings that stand in for ``asr_scorer.json``.
        reference: the reference model of kind ``implicit``, or the second model of kind ``contrast``.
        scoring: dtype, device, batch budget.
        revision: of a hub id.
        allow_pickle: read weights from pickle files where there are no safetensors, with
            ``torch.load(weights_only=True)``: it makes tensors and runs no code.
        allow_hub: fetch from the Hub what a local model's files name (an adapter's base, a preset's reference). Without
            it the Hub is asked only for ``model`` and ``reference``, and for what a model from the Hub names itself.
        cache: keep the backbone of the built-in model, once dequantised, and hashes of large files in the user's cache
            directory.
        verify: hash every file, whatever the user's cache or the names of the Hub's files say.
        offload_folder: where weights go that ``scoring.device_map`` puts on disk; default the place for temporary
            files. They are removed when the process ends.
        first_rows: rows that are going to be scored; whether the model's chat template accepts them is checked before
            its weights are loaded.
        schema: their columns; a context that shows another one is refused before anything is loaded.
        context, against, sides, answer: in place of the settings of these names; see
            :mod:`asr_data.scoring.context_config` and ``docs/signals.md``.
        engines: servers that run the model, and the reference; see
            :func:`asr_data.engines.served_models` and ``docs/scoring.md``. Of a model from the Hub only
            settings and tokenizer are fetched then.

    Raises:
        EngineError: a server cannot be asked, or its readings cannot be right.
        ScorerError: the checkpoint cannot be read as a reward model.
        ConfigError: an option is invalid.
    """
    if config is not None and preset is not None:
        raise ConfigError("give either a preset or settings, not both")
    if config is None and kind in ("labels", "diff"):
        if str(model) != "builtin":
            what = "takes the data set's own labels" if kind == "labels" else "compares the two answers"
            raise ConfigError(f"kind {kind!r} {what} and no model; leave out {model}")
        config = LabelsConfig() if kind == "labels" else DiffConfig()
    elif config is None and kind == "rule":
        config = rule_config(str(model))
    asked_for: dict[str, Any] = {"context": context, "against": against, "sides": sides, "answer": answer}
    if engines and "model" not in engines:
        raise ConfigError(f"--engine {next(iter(engines))}=URL: the model's own server is missing, --engine URL")
    if isinstance(config, WithoutModel):
        if engines:
            raise ConfigError(f"kind {config.kind!r} runs no model, so no server is asked: leave out --engine")
        _no_context(config.kind, asked_for)
        return _without_model(config, kind)
    hub = allow_hub or is_hub_id(str(model))
    directory = model_directory(str(model), revision, pickles=allow_pickle, weights=not engines)
    if engines:
        require_settings(directory, preset, config, kind, pickles=allow_pickle)
    settings, reason = find_settings(directory, preset, config, kind=kind, pickles=allow_pickle, hub=hub)
    if kind not in ("auto", settings.kind):
        raise ConfigError(f"{model} is a {settings.kind!r} scorer, but kind {kind!r} was asked for")
    if isinstance(settings, WithoutModel):
        raise ScorerError(f"{directory}: kind {settings.kind!r} is chosen with --kind, never by a model's settings")
    settings = with_asked(
        with_builtin(settings, str(model)), context=context, against=against, sides=sides, answer=answer
    )
    if schema is not None:
        check_columns(shown_by(settings), {c.side for row in first_rows for c in row.completions}, schema)
    settings = with_adapter(settings, directory)
    typed = reference is not None
    if reference is not None:
        if not isinstance(settings, ImplicitConfig | ContrastConfig):
            raise ConfigError(
                f"a reference is for kinds 'implicit' and 'contrast'; {model} is a {settings.kind!r} scorer"
            )
        settings = settings.model_copy(update={"reference": str(reference)})
    asked = Asked(
        str(model),
        reason,
        scoring,
        pickles=allow_pickle,
        hub=hub,
        reference_hub=hub or typed,
        cache=cache,
        hashes=FileHashes(remember=cache, verify=verify),
        spread=spread_of(scoring, offload_folder),
    )
    if not engines:
        return _model_scorer(settings, directory, asked, first_rows)
    own = partial(_model_scorer, settings, directory, asked, ())
    return load_served(settings, directory, Wanted(asked, engines, own), first_rows)


def _model_scorer(settings: BackboneConfig, directory: Path, asked: Asked, first_rows: Sequence[Row]) -> ModelScorer:
    device = pick_device(asked.scoring.device)
    dtype = pick_dtype(asked.scoring.dtype, device)
    tokenizer = scorer_tokenizer(settings, directory, asked.name, hub=asked.hub, cache=asked.cache)
    contexts = shows(settings, tokenizer)
    if settings.prompt.template is None:
        check_template(tokenizer, [as_prompted(row, settings.prompt) for row in _seen(first_rows, contexts)])
    decoder = load_decoder(
        settings,
        directory,
        device,
        dtype,
        pickles=asked.pickles,
        hub=asked.hub,
        cache=asked.cache,
        spread=asked.spread,
    )
    device = decoder.device
    if isinstance(settings, SequenceHeadConfig):
        settings = _normalized(settings, decoder)
    budget = asked.scoring.batch_tokens
    batch_tokens = default_batch_tokens(decoder.model) if budget == "auto" else budget
    files = _files(settings, directory, decoder, asked)
    vocabulary = decoder.vocabulary
    encoder: Encoder
    runner: Runner
    if isinstance(settings, LANGUAGE_KINDS):
        reference = _reference(settings, decoder, dtype, hub=asked.reference_hub, spread=asked.spread)
        encoder = language_encoder(settings, tokenizer, contexts, reference=reference is not None)
        runner, vocabulary = language_runner(decoder, reference, batch_tokens=batch_tokens)
        files += [] if reference is None else decisive_files(reference.directory, pickles=asked.pickles)
    elif isinstance(settings, TokenHeadConfig) and settings.features is not None:
        encoder, runner, vocabulary = _with_features(settings, decoder, tokenizer, contexts, batch_tokens)
    else:
        encoder, readout = _kind(settings, decoder, tokenizer)
        encoder = encoder if contexts.are_default else ContextEncoder(encoder, contexts)
        runner = Engine(decoder.model, readout, batch_tokens=batch_tokens, entry=decoder.entry)
    beside = {
        **partner_of_sides(partner_shown(settings, tokenizer), with_elsewhere(first_rows)),
        **placed(decoder.model),
        **quantiser(decoder.checkpoint),
    }
    info = _info(
        settings, asked, runner.attention, files, beside, dtype=dtype, device=device, batch_tokens=batch_tokens
    )
    return ModelScorer(
        encoder,
        runner,
        tokenizer,
        info,
        max_length=max_length(decoder.model, asked.scoring, asked.name),
        vocabulary=vocabulary,
        elsewhere=bool(info.contexts),
    )


def _info(
    settings: BackboneConfig,
    asked: Asked,
    attention: str,
    files: list[Path],
    partner: Mapping[str, Any],
    *,
    dtype: torch.dtype,
    device: torch.device,
    batch_tokens: int,
) -> ScorerInfo:
    facts: Mapping[str, Any] = {
        **settings.model_dump(mode="json", exclude={"backbone", "adapter", "reference"}, exclude_defaults=True),
        "recognised": asked.reason,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
        "batch_tokens": batch_tokens,
        "attention": attention,
        **partner,
    }
    return ScorerInfo(
        name=asked.name,
        kind=settings.kind,
        form=settings.form,
        fingerprint=fingerprint(files, {**settings.model_dump(mode="json"), **written_out(settings)}, asked.hashes),
        settings=facts,
        partial=may_leave_unknown(settings),
        contexts=shown_by(settings),
    )


def _files(settings: BackboneConfig, directory: Path, decoder: Decoder, asked: Asked) -> list[Path]:
    """The files that decide rewards."""
    if asked.name == "builtin" and isinstance(settings, LANGUAGE_KINDS):
        # The built-in scorer's adapter and head are no part of its backbone.
        return [packaged_file(settings.backbone)] if isinstance(settings.backbone, PackagedBackbone) else []
    return model_files(settings, directory, decoder.checkpoint, pickles=asked.pickles)


def _seen(rows: Sequence[Row], contexts: Contexts) -> list[Row]:
    """The rows as the model will see them; those that have nothing to show are left out."""
    if contexts.are_default:
        return list(rows)
    seen: list[Row] = []
    for row in with_elsewhere(rows):
        try:
            seen += [view for views in contexts.views(row) if views is not None for view in views]
        except RowRejected:
            continue
    return seen


def _no_context(kind: str, asked: Mapping[str, Any]) -> None:
    given = [f"--{name}" for name, value in asked.items() if value is not None]
    if given:
        raise ConfigError(f"{', '.join(given)}: kind {kind!r} reads no model, so there is no context")


def _kind(
    settings: TokenHeadConfig | SequenceHeadConfig | LabelTokenConfig, decoder: Decoder, tokenizer: Tokenizer
) -> tuple[Encoder, Readout]:
    """How a kind asks, and what answers."""
    match settings:
        case TokenHeadConfig():
            return TokenHeadEncoder(tokenizer, settings), TokenHeadReadout(_head(settings.head, decoder), settings)
        case SequenceHeadConfig():
            head = _head(settings.head, decoder)
            return SequenceHeadEncoder(tokenizer, settings), SequenceHeadReadout(head, settings)
        case LabelTokenConfig():
            return LabelTokenEncoder(tokenizer, settings), label_token_readout(settings, decoder, tokenizer)


def _with_features(
    settings: TokenHeadConfig, decoder: Decoder, tokenizer: Tokenizer, contexts: Contexts, batch_tokens: int
) -> tuple[Encoder, Runner, int]:
    """How a token head with features asks, what answers, and how many token ids are known."""
    features = FeatureConfig() if settings.features is None else settings.features
    head = cast(FeatureHead, _head(settings.head, decoder, features))
    language = load_language_head(decoder) if features.scalars else None
    vocabulary = decoder.vocabulary if language is None else min(decoder.vocabulary, language.vocabulary)
    readout = FeatureReadout(head, language, decoder.hidden, features)
    backbone = decoder.model if features.layer is None else WithLayer(decoder.model, features.layer)
    runner = Engine(backbone, readout, batch_tokens=batch_tokens, entry=decoder.entry)
    return FeatureEncoder(tokenizer, settings, contexts, partner_shown(settings, tokenizer), head), runner, vocabulary


def _head(config: HeadConfig, decoder: Decoder, features: FeatureConfig | None = None) -> nn.Module:
    head = load_head(
        config,
        decoder.directory,
        set(decoder.extra),
        decoder.hidden,
        checkpoint=decoder.checkpoint,
        adapter=decoder.adapter,
        pickles=decoder.pickles,
        features=features,
    )
    return head.to(decoder.device)


def _normalized(settings: SequenceHeadConfig, decoder: Decoder) -> SequenceHeadConfig:
    """The settings with the checkpoint's own mean and standard deviation where they ask for them."""
    config = decoder.model.config
    found = {name: getattr(config, name, default) for name, default in (("mean", 0.0), ("std", 1.0))}
    asked = {name: value for name, value in found.items() if getattr(settings, name) == "config"}
    try:
        return SequenceHeadConfig.model_validate({**settings.model_dump(), **asked})
    except ConfigError as error:
        raise ScorerError(f"config.json in {decoder.checkpoint}: {error}") from error


def _reference(
    settings: LanguageModelConfig, policy: Decoder, dtype: torch.dtype, *, hub: bool, spread: Spread | None
) -> Decoder | None:
    """The second model, where there is one."""
    if not isinstance(settings, ImplicitConfig | ContrastConfig):
        return None
    if settings.reference is None:
        if isinstance(settings, ContrastConfig):
            return None
        raise ConfigError("kind 'implicit' needs the model that the policy was trained from: give it as the reference")
    directory = backbone_directory(settings.reference, policy.directory, hub=hub)
    plain = ImplicitConfig(reference=settings.reference)
    return load_decoder(plain, directory, policy.device, dtype, pickles=policy.pickles, spread=spread)


def _without_model(config: WithoutModel, kind: str) -> Scorer:
    if kind not in ("auto", config.kind):
        raise ConfigError(f"the settings are of kind {config.kind!r}, but kind {kind!r} was asked for")
    if isinstance(config, LabelsConfig):
        return LabelScorer(config)
    if isinstance(config, DiffConfig):
        return DiffScorer(config)
    return load_rule(config)


def load_scorer_tokenizer(model: str | Path, *, hub: bool = True, cache: bool = True) -> Tokenizer:
    """The tokenizer of a scorer, without its weights.

    Args:
        model: ``builtin``, a directory, or a Hub id.
        hub: False: the name was not typed by the user, but stands in a file; see
            :func:`asr_data.scoring.locate.resolve_directory`.
        cache: as in :func:`load_scorer`.

    Raises:
        ScorerError: there is no such model, or it has no tokenizer.
    """
    name = str(model)
    directory = model_directory(name, None, pickles=False, hub=hub)
    hub = hub and is_hub_id(name)  # what a local model names is not the user's word
    settings: ScorerConfig = ImplicitConfig()
    if (directory / CONFIG_NAME).is_file():
        settings = read_config(directory / CONFIG_NAME)
    if isinstance(settings, WithoutModel):
        raise ScorerError(f"{directory}: kind {settings.kind!r} has no tokenizer")
    return scorer_tokenizer(with_adapter(settings, directory), directory, name, hub=hub, cache=cache)
