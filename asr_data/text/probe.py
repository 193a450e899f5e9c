"""Checks of a chat template before a model is loaded: it is there, renders, ends, and is deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asr_data.errors import ConfigError, RowRejected
from asr_data.text.template import apply_template, template_arguments
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Row

FIRST_ROWS: Final = 16
"""Rows that are enough to see whether a template takes a data set's messages."""


def check_template(tokenizer: Tokenizer, rows: Sequence[Row]) -> None:
    """See that a tokenizer's chat template takes messages, where the rows are messages.

    Args:
        tokenizer: of a policy or a scorer.
        rows: the first rows of the data.

    Raises:
        ConfigError: there is no chat template, or it is not valid; it takes too long, gives a different text each time,
            or refuses all of these rows.
    """
    conversations = [row for row in rows if not isinstance(row.prompt, str)]
    if not conversations:
        return
    _check_there(tokenizer)
    refused: RowRejected | None = None
    for row in conversations:
        try:
            texts = [_rendered(tokenizer, row) for _ in range(2)]
        except RowRejected as error:
            refused = error
            continue
        if texts[0] != texts[1]:
            raise ConfigError(
                f"the chat template of tokenizer {tokenizer.name!r} gives a different text each time, so ids "
                "cannot be stored; it must not use random"
            )
        return
    raise ConfigError(
        f"the chat template of tokenizer {tokenizer.name!r} takes none of the first {len(conversations)} rows of "
        f"messages: {refused}"
    )


def _check_there(tokenizer: Tokenizer) -> None:
    template = tokenizer.hf.chat_template
    if template is None or template in ("", {}):
        raise ConfigError(
            f"tokenizer {tokenizer.name!r} has no chat template, and the rows are messages: give a tokenizer with one "
            "(chat_template.jinja beside its files), or rows of texts"
        )
    try:
        tokenizer.hf.get_chat_template()
    except ValueError as error:  # several templates, none of them the default
        raise ConfigError(f"the chat template of tokenizer {tokenizer.name!r}: {error}") from error


def _rendered(tokenizer: Tokenizer, row: Row) -> tuple[str, ...]:
    prompt = [] if isinstance(row.prompt, str) else list(row.prompt)
    arguments = template_arguments(row.template_kwargs)
    return tuple(
        apply_template(tokenizer, [*prompt, *completion.content], arguments, generate=False)
        for completion in row.completions
    )
