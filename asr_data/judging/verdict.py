"""Parses a judge's reply into a verdict, or says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from asr_data.endpoints.replies import MalformedReplyError, json_objects

Pick: TypeAlias = Literal["first", "second", "tie"]
Order: TypeAlias = Literal["as_given", "swapped"]

ORDERS: Final[tuple[Order, Order]] = ("as_given", "swapped")
"""``as_given`` shows the first answer as A, ``swapped`` as B."""
CRITERIA: Final = ("safety", "accuracy", "helpfulness")

_PICKS: Final[Mapping[Order, Mapping[str, Pick]]] = {
    "as_given": {"a": "first", "b": "second", "tie": "tie"},
    "swapped": {"a": "second", "b": "first", "tie": "tie"},
}
_ALIASES: Final = {"help": "helpfulness"}
"""Tag to criterion: the paper's prompt calls the third criterion help."""
_WRAPPING: Final = " \t\r\n[]\"'*."
"""Around what is meant: ``[A]``, ``[[A]]``, ``"A"``, ``**A**``."""
_TITLES: Final = ("assistant ", "answer ", "response ")
_LONGEST_TAG: Final = 60
_MOST_TAGS: Final = 20


@dataclass(frozen=True, slots=True)
class Opinion:
    """A parsed reply, in terms of the columns instead of the order shown.

    Attributes:
        verdict: the better answer overall.
        criteria: criterion to the better answer; omitted where the judge omitted it.
        reason: the judge's explanation.
        tags: what decided, in the judge's words, lower case; only in replies of the form with ``tag``. Those that are
            criteria are in ``criteria``, too, with the verdict.
    """

    verdict: Pick
    criteria: Mapping[str, Pick]
    reason: str
    tags: tuple[str, ...] = ()


def without_secrets(opinion: Opinion, redacted: Callable[[str], str]) -> Opinion:
    """The opinion with its texts redacted."""
    return replace(opinion, reason=redacted(opinion.reason), tags=tuple(map(redacted, opinion.tags)))


def read_reply(reply: str, order: Order) -> Opinion:
    """Parse a reply: a JSON object of one of two forms. Text around it is ignored.

    ``{"verdict": "A", "safety": "B", "accuracy": "A", "helpfulness": "tie", "reason": "…"}`` is the form that the
    default prompt asks for, ``{"judge": "[A]", "tag": ["Safety"], "reason": "…"}`` that of the paper's prompt
    (appendix G). ``A``, ``[A]``, ``[[A]]`` and ``Assistant A`` mean the same in both; ``C`` is a tie in the second.

    Raises:
        MalformedReplyError: there is no JSON object with a verdict, or there are several that differ.
    """
    values = [{name.strip().casefold(): item for name, item in value.items()} for value in json_objects(reply)]
    opinions = [_opinion(value, _PICKS[order]) for value in values if "verdict" in value]
    opinions += [_tagged_opinion(value, _PICKS[order]) for value in values if "judge" in value]
    if not opinions:
        raise MalformedReplyError("it held no JSON object with a verdict")
    if len({opinion.verdict for opinion in opinions}) > 1:
        raise MalformedReplyError("it held several verdicts that differ")
    return opinions[-1]


def _opinion(value: Mapping[str, Any], picks: Mapping[str, Pick]) -> Opinion:
    verdict = _pick(value["verdict"], picks)
    if verdict is None:
        raise MalformedReplyError('its verdict was not "A", "B" or "tie"')
    said = {name: _pick(value.get(name), picks) for name in CRITERIA}
    return Opinion(verdict, {name: pick for name, pick in said.items() if pick is not None}, _reason(value))


def _tagged_opinion(value: Mapping[str, Any], picks: Mapping[str, Pick]) -> Opinion:
    judged = value["judge"]
    if isinstance(judged, list) and len(judged) == 1:
        judged = judged[0]  # [A], meant as a list
    verdict = _pick(judged, {**picks, "c": "tie"})
    if verdict is None:
        raise MalformedReplyError('its judge was not "[A]", "[B]" or "[C]"')
    tags = _tags(value.get("tag", value.get("tags")))
    return Opinion(verdict, {tag: verdict for tag in tags if tag in CRITERIA}, _reason(value), tags)


def _reason(value: Mapping[str, Any]) -> str:
    reason = value.get("reason")
    return reason if isinstance(reason, str) else ""


def _tags(value: Any) -> tuple[str, ...]:
    """Tags of a list, or of a text in which commas, semicolons, slashes or bars part them; anything else has none."""
    texts = value if isinstance(value, list) else [value]
    parts = [part for text in texts if isinstance(text, str) for part in re.split(r"[,;/|]", text)]
    names = [_unwrapped(part)[:_LONGEST_TAG] for part in parts]
    return tuple(dict.fromkeys(_ALIASES.get(name, name) for name in names if name))[:_MOST_TAGS]


def _pick(value: Any, picks: Mapping[str, Pick]) -> Pick | None:
    return picks.get(_unwrapped(value)) if isinstance(value, str) else None


def _unwrapped(text: str) -> str:
    """The text in lower case, without brackets, quotes and a title such as ``Assistant``."""
    text = text.casefold().strip(_WRAPPING)
    for title in _TITLES:
        text = text.removeprefix(title)
    return text.strip(_WRAPPING)
