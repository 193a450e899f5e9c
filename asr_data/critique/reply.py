"""Parses a critic's reply into faults, or says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from asr_data.endpoints.replies import MalformedReplyError, json_objects

Severity: TypeAlias = Literal["minor", "major", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("minor", "major", "critical")
"""From the mildest to the worst."""
OTHER: Final = "other"
"""Kind of a fault to which the critic gives none."""
MOST_FAULTS: Final = 500
"""A reply with more of them is of no use."""

_LONGEST_KIND: Final = 60
_ALIASES: Final[Mapping[str, Severity]] = {
    "low": "minor", "small": "minor", "medium": "major", "moderate": "major", "serious": "major", "high": "critical",
    "severe": "critical", "fatal": "critical",
}  # fmt: skip
_LONE_BACKSLASH: Final = re.compile(r'(?<!\\)((?:\\\\)*)\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
_THOUGHTS_END: Final = "</think>"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A fault as a critic names it.

    Attributes:
        quote: what is faulty, in the response's words.
        context: a longer stretch of the response around it, or an empty text.
        kind: what sort of fault it is, lower case.
        severity: None where the critic gives none of :data:`SEVERITIES`.
        reason: the critic's explanation.
        shown: the quote without secrets, to be kept where it cannot be placed.
    """

    quote: str
    context: str
    kind: str
    severity: Severity | None
    reason: str
    shown: str


def read_faults(reply: str, redacted: Callable[[str], str]) -> tuple[Claimed, ...]:
    """Parse a reply: a JSON object with a list ``faults``, which is empty where nothing is wrong.

    Text around the object is ignored, and so is what a model thinks before it replies. Backslashes that JSON does not
    know, as in formulas, are taken as they stand.

    Args:
        reply: the model's text.
        redacted: takes secrets out of a text.

    Raises:
        MalformedReplyError: there is no such object, there are several that differ, or a fault has no quote.
    """
    items = _lists(reply, "faults")
    if len(items) > MOST_FAULTS:
        raise MalformedReplyError(f"it held more than {MOST_FAULTS} faults")
    return tuple(_fault(item, redacted) for item in items)


def read_quotes(count: int, reply: str, redacted: Callable[[str], str]) -> tuple[str, ...]:  # noqa: ARG001 - quotes are looked up and not kept
    """Parse a reply to a question for quotes: a JSON object with a list ``quotes`` of ``count`` texts.

    Raises:
        MalformedReplyError: there is no such object, or the list is another one.
    """
    quotes = _lists(reply, "quotes")
    if len(quotes) != count or not all(isinstance(quote, str) for quote in quotes):
        raise MalformedReplyError(f"its quotes were not a list of {count} texts")
    return tuple(quotes)


def _lists(reply: str, name: str) -> Sequence[Any]:
    """The list of that name in the one JSON object that has it."""
    reply = reply.rpartition(_THOUGHTS_END)[2]
    for text in (reply, _LONE_BACKSLASH.sub(r"\1\\\\", reply)):
        values = [{key.strip().casefold(): item for key, item in value.items()} for value in json_objects(text)]
        found = [value[name] for value in values if name in value]
        if not found:
            continue
        if any(one != found[0] for one in found):
            raise MalformedReplyError(f"it held several lists of {name} that differ")
        if not isinstance(found[0], list):
            raise MalformedReplyError(f"its {name} were not a list")
        return found[0]
    raise MalformedReplyError(f"it held no JSON object with {name}")


def _fault(item: Any, redacted: Callable[[str], str]) -> Claimed:
    if not isinstance(item, dict) or not isinstance(item.get("quote"), str):
        raise MalformedReplyError("a fault in it had no quote")
    context, reason = item.get("context"), item.get("reason")
    return Claimed(
        quote=item["quote"],
        context=context if isinstance(context, str) else "",
        kind=_kind(redacted(str(item.get("kind") or item.get("type") or ""))),
        severity=_severity(item.get("severity")),
        reason=redacted(reason) if isinstance(reason, str) else "",
        shown=redacted(item["quote"]),
    )


def _kind(text: str) -> str:
    """A name of words, without what joins names of labels."""
    return "_".join(re.findall(r"[\w.'-]+", text.casefold()))[:_LONGEST_KIND] or OTHER


def _severity(value: Any) -> Severity | None:
    word = value.strip().casefold() if isinstance(value, str) else ""
    return next((severity for severity in SEVERITIES if severity == word), _ALIASES.get(word))
