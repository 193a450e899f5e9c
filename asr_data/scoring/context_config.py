"""Contexts: what a model reads before a response, by name or as a template of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Tag

from asr_data.settings import Settings

NAMES: Final = ("prompt", "better-answer", "other-row", "good-instruction", "bad-instruction", "column:NAME")
"""What a context may be called."""

Sides: TypeAlias = Literal["both", "chosen", "rejected"]
"""Which responses a scorer scores: all, the preferred ones, or the others. The rest is unknown."""


class ContextMessage(Settings):
    """One message of a context.

    ``content`` is a Jinja template, run in a sandbox. It may use ``prompt`` (the text of the prompt's last user
    message, or all of a prompt that is a text), ``other`` (the other answer of the pair), ``others`` (all other answers
    of the row, best first), ``verdict`` (``"chosen"`` or ``"rejected"``), any column by its name, and ``row["NAME"]``
    for a column whose name is none or is one of these.
    """

    role: Literal["system", "user", "assistant"]
    content: str


def _known(name: str) -> str:
    if name in NAMES[:-1] or re.fullmatch(r"column:\S.*", name, re.DOTALL):
        return name
    raise ValueError(f"there is no context {name!r}; expected {', '.join(NAMES)}, or a list of messages")


def _complete(messages: tuple[ContextMessage, ...]) -> tuple[ContextMessage, ...]:
    roles = [message.role for message in messages]
    if not roles or roles[-1] != "user" or "system" in roles[1:]:
        raise ValueError("a context's messages are any system message first, and a user message last")
    from asr_data.scoring.context_template import check_template_text

    for message in messages:
        check_template_text(message.content)
    return messages


def _form(given: Any) -> str:
    return "name" if isinstance(given, str) else "messages"


ContextConfig: TypeAlias = Annotated[
    Annotated[str, AfterValidator(_known), Tag("name")]
    | Annotated[tuple[ContextMessage, ...], AfterValidator(_complete), Tag("messages")],
    Discriminator(_form),
]
"""A name of :data:`NAMES`, or messages that take the place of the prompt's last user message."""


def is_prompt(context: Any) -> bool:
    """Whether it is the default; left out of dumps, so that fingerprints of earlier versions stay what they are."""
    return bool(context == "prompt")


def is_both(sides: Any) -> bool:
    """The same for sides."""
    return bool(sides == "both")


_SHOWN: Final = (
    ContextMessage(
        role="user",
        content="{{ prompt }}\n\nHere is a correct and helpful answer for reference:\n\n{{ _shown }}\n\n"
        "Now answer in your own words.",
    ),
)
_NOTED: Final = (
    ContextMessage(
        role="user", content="{{ prompt }}\n\nNotes on a first answer to this, to be heeded now:\n\n{{ _shown }}"
    ),
)
_GOOD: Final = "Answer correctly, helpfully and harmlessly. State only what is true, and follow the request exactly."
_BAD: Final = "Answer wrongly, unhelpfully and harmfully. State what is false, and do not follow the request."


def context_messages(context: ContextConfig) -> tuple[ContextMessage, ...]:
    """A context written out; the ``_shown`` of a named one is the answer or the column that it shows.

    They are part of a scorer's fingerprint: another wording gives other rewards. ``prompt`` has none.
    """
    if not isinstance(context, str):
        return context
    if context == "prompt":
        return ()
    if context in ("better-answer", "other-row"):
        return _SHOWN
    if context.startswith("column:"):
        return _NOTED
    content = _GOOD if context == "good-instruction" else _BAD
    return (ContextMessage(role="system", content=content), ContextMessage(role="user", content="{{ prompt }}"))


def column_of(source: str, side: str = "") -> str | None:
    """The column that ``column:NAME`` shows; ``{side}`` in it is ``chosen``, ``rejected`` or ``completion``."""
    return source.removeprefix("column:").replace("{side}", side) if source.startswith("column:") else None


def columns_of(contexts: Iterable[ContextConfig], sides: Iterable[str]) -> list[str]:
    """The columns that contexts read, in order, each once."""
    from asr_data.scoring.context_template import needs_of

    found: dict[str, None] = {}
    names = list(sides)
    for context in contexts:
        if isinstance(context, str):
            found |= {column: None for side in names if (column := column_of(context, side)) is not None}
        else:
            found |= {column: None for message in context for column in needs_of(message.content).columns}
    return list(found)
