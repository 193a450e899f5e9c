"""Parses a judge's reply into a verdict, or says what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Pick: TypeAlias = Literal["first", "second", "tie"]
Order: TypeAlias = Literal["as_given", "swapped"]

ORDERS: Final[tuple[Order, Order]] = ("as_given", "swapped")
"""``as_given`` shows the first answer as A, ``swapped`` as B."""
CRITERIA: Final = ("safety", "accuracy", "helpfulness")

_PICKS: Final[Mapping[Order, Mapping[str, Pick]]] = {
    "as_given": {"a": "first", "b": "second", "tie": "tie"},
    "swapped": {"a": "second", "b": "first", "tie": "tie"},
}


class MalformedReplyError(Exception):
    """A reply without a usable verdict. The message never quotes the reply."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """A parsed reply, in terms of the columns instead of the order shown.

    Attributes:
        verdict: the better answer overall.
        criteria: criterion to the better answer; omitted where the judge omitted it.
        reason: the judge's explanation.
    """

    verdict: Pick
    criteria: Mapping[str, Pick]
    reason: str


def read_reply(reply: str, order: Order) -> Opinion:
    """Parse a reply. Text around the JSON object is ignored.

    Raises:
        MalformedReplyError: there is no JSON object with a verdict, or there are several that differ.
    """
    found = [value for value in _objects(reply) if "verdict" in value]
    if not found:
        raise MalformedReplyError("it held no JSON object with a verdict")
    opinions = [_opinion(value, _PICKS[order]) for value in found]
    if len({opinion.verdict for opinion in opinions}) > 1:
        raise MalformedReplyError("it held several verdicts that differ")
    return opinions[-1]


def _opinion(value: Mapping[str, Any], picks: Mapping[str, Pick]) -> Opinion:
    verdict = _pick(value["verdict"], picks)
    if verdict is None:
        raise MalformedReplyError('its verdict was not "A", "B" or "tie"')
    said = {name: _pick(value.get(name), picks) for name in CRITERIA}
    reason = value.get("reason")
    return Opinion(
        verdict,
        {name: pick for name, pick in said.items() if pick is not None},
        reason if isinstance(reason, str) else "",
    )


def _pick(value: Any, picks: Mapping[str, Pick]) -> Pick | None:
    return picks.get(value.strip().lower()) if isinstance(value, str) else None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object in a text, from left to right, outermost only."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield value
        at = text.find("{", end)
