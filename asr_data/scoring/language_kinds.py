"""Kinds that read a language model's own log-probabilities: ``contrast``, ``implicit``, ``logp``, ``answer_value``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asr_data.errors import ConfigError, RowRejected
from asr_data.scoring.answer_value import AnswerValueEncoder
from asr_data.scoring.config import (
    AnswerValueConfig,
    BackboneConfig,
    ContrastConfig,
    LanguageModelConfig,
    LogProbabilityConfig,
    TokenHeadConfig,
)
from asr_data.scoring.context_config import ContextConfig, context_messages
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.contrast import ContrastEncoder
from asr_data.scoring.model_scorer import Encoder
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Row


def contexts_of(settings: BackboneConfig) -> tuple[ContextConfig, ...]:
    """What the model reads before a response, in the order of the terms."""
    return (settings.context, settings.against) if isinstance(settings, ContrastConfig) else (settings.context,)


def shown_by(settings: BackboneConfig) -> tuple[ContextConfig, ...]:
    """All that is shown to the model beside the prompt and the response; empty where that is nothing."""
    return tuple(context for context in (*_needed(settings), *_partner(settings)) if context != "prompt")


def may_leave_unknown(settings: BackboneConfig) -> bool:
    """Whether responses of some rows get no reward. A partner that is not there is done without."""
    return settings.sides != "both" or any(context != "prompt" for context in _needed(settings))


def partner_of_sides(partner: Contexts | None, rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """For the manifest: whether responses of each side are read with a partner in view; empty without features.

    Args:
        partner: its context.
        rows: the first ones of a data set.
    """
    found: dict[str, str] = {}
    if partner is None:
        return {}
    for row in rows:
        for place, completion in enumerate(row.completions):
            if found.get(completion.side) != _IN_VIEW:
                found[completion.side] = _IN_VIEW if _is_there(partner, row, place) else "none"
    return {"partner": found} if found else {}


def written_out(settings: BackboneConfig) -> dict[str, list[list[dict[str, str]]]]:
    """The messages of the contexts, for a fingerprint; empty where there is the prompt alone."""
    contexts = (*contexts_of(settings), *_partner(settings))
    if all(context == "prompt" for context in contexts):
        return {}
    return {"messages": [[message.model_dump() for message in context_messages(context)] for context in contexts]}


def shows(settings: BackboneConfig, tokenizer: Tokenizer) -> Contexts:
    """The contexts of a scorer as its tokenizer can render them."""
    conversations = bool(tokenizer.hf.chat_template) and settings.prompt.template is None
    return Contexts(contexts_of(settings), settings.sides, conversations=conversations)


def partner_shown(settings: BackboneConfig, tokenizer: Tokenizer) -> Contexts | None:
    """The context of the second reading of a token head with features."""
    found = _partner(settings)
    conversations = bool(tokenizer.hf.chat_template) and settings.prompt.template is None
    return Contexts(found, "both", conversations=conversations) if found else None


_IN_VIEW: Final = "in view, where the row has one"


def _is_there(partner: Contexts, row: Row, place: int) -> bool:
    try:
        return partner.beside(row, place) is not None
    except RowRejected:
        return False


def _needed(settings: BackboneConfig) -> tuple[ContextConfig, ...]:
    """What is shown, and without which a response is unknown."""
    answer: tuple[ContextConfig, ...] = (settings.answer,) if isinstance(settings, AnswerValueConfig) else ()
    return (*contexts_of(settings), *answer)


def _partner(settings: BackboneConfig) -> tuple[ContextConfig, ...]:
    features = settings.features if isinstance(settings, TokenHeadConfig) else None
    return () if features is None or features.partner is None else (features.partner,)


def language_encoder(
    settings: LanguageModelConfig, tokenizer: Tokenizer, contexts: Contexts, *, reference: bool
) -> Encoder:
    """How a kind asks.

    Raises:
        ConfigError: every reward would be 0.
    """
    if isinstance(settings, AnswerValueConfig):
        return AnswerValueEncoder(tokenizer, settings, contexts)
    if isinstance(settings, LogProbabilityConfig):
        return ContrastEncoder(tokenizer, settings, contexts, (0,))
    if isinstance(settings, ContrastConfig) and settings.context == settings.against and not reference:
        raise ConfigError(
            f"both contexts are {settings.context!r} and there is one model, so every reward would be 0: give another "
            "--context or --against, or a --reference"
        )
    return ContrastEncoder(tokenizer, settings, contexts, (0, int(reference)))
