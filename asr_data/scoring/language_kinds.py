"""Kinds that read a language model's own log-probabilities: ``contrast``, ``implicit``, ``logp``, ``answer_value``."""

from __future__ import annotations

from asr_data.errors import ConfigError
from asr_data.scoring.answer_value import AnswerValueEncoder
from asr_data.scoring.config import (
    AnswerValueConfig,
    BackboneConfig,
    ContrastConfig,
    LanguageModelConfig,
    LogProbabilityConfig,
)
from asr_data.scoring.context_config import ContextConfig, context_messages
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.contrast import ContrastEncoder
from asr_data.scoring.model_scorer import Encoder
from asr_data.text.tokenizer import Tokenizer


def contexts_of(settings: BackboneConfig) -> tuple[ContextConfig, ...]:
    """What the model reads before a response, in the order of the terms."""
    return (settings.context, settings.against) if isinstance(settings, ContrastConfig) else (settings.context,)


def shown_by(settings: BackboneConfig) -> tuple[ContextConfig, ...]:
    """All that is shown to the model beside the prompt and the response; empty where that is nothing."""
    answer: tuple[ContextConfig, ...] = (settings.answer,) if isinstance(settings, AnswerValueConfig) else ()
    return tuple(context for context in (*contexts_of(settings), *answer) if context != "prompt")


def written_out(settings: BackboneConfig) -> dict[str, list[list[dict[str, str]]]]:
    """The messages of the contexts, for a fingerprint; empty where there is the prompt alone."""
    contexts = contexts_of(settings)
    if all(context == "prompt" for context in contexts):
        return {}
    return {"messages": [[message.model_dump() for message in context_messages(context)] for context in contexts]}


def shows(settings: BackboneConfig, tokenizer: Tokenizer) -> Contexts:
    """The contexts of a scorer as its tokenizer can render them."""
    conversations = bool(tokenizer.hf.chat_template) and settings.prompt.template is None
    return Contexts(contexts_of(settings), settings.sides, conversations=conversations)


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
