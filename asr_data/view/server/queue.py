"""Which responses a person is asked about: those where signals disagree most, or any by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from asr_data.response import recorded_text
from asr_data.types import Bool
from asr_data.view.reading import LONGEST_SHOWN, AnnotatedRow, characters, rows_at
from asr_data.view.server.directories import Viewed

Order: TypeAlias = Literal["disagreement", "chance"]

CANDIDATES: Final = 500
"""Rows among which responses are chosen."""


class Place(NamedTuple):
    """A response: the row's position in the first directory, and the number of the side."""

    position: int
    side: int


def by_chance(viewed: Sequence[Viewed]) -> list[Place]:
    """The responses of up to 500 rows, one of each row before any row's second, in an order that chance decides.

    It is the same for everybody who opens these directories, so that two people label the same responses. An answer
    that is in several pairs of its row comes once.
    """
    first = viewed[0]
    sides = len(first.annotated.manifest.sides)
    generator = np.random.default_rng(7)
    positions = generator.permutation(first.sample(CANDIDATES, seed=7)).tolist()
    begins = generator.integers(0, sides, len(positions)).tolist()
    found: dict[tuple[int, int], Place] = {}
    for turn in range(sides):
        for position, begin in zip(positions, begins, strict=True):
            side = (begin + turn) % sides
            found.setdefault(first.answer(position, side), Place(position, side))
    return list(found.values())


def by_disagreement(viewed: Sequence[Viewed]) -> list[Place]:
    """The responses of up to 500 rows, by how much the directories' masks differ, most first.

    With one directory its masks are set against the verdict: the more of a response they drop, the earlier it comes.
    Equals stand in the order of :func:`by_chance`.
    """
    places = by_chance(viewed)
    positions = sorted({place.position for place in places})
    kept = [_kept(one, _places_in(one, viewed[0], positions)) for one in viewed]
    apart = {place: _apart([of.get(place) for of in kept]) for place in places}
    return sorted(places, key=lambda place: -apart[place])


def _places_in(one: Viewed, first: Viewed, positions: Sequence[int]) -> dict[int, int]:
    """Position in a directory → position of the same row in the first one."""
    if one is first:
        return {position: position for position in positions}
    at, there = one.find(first.keys[list(positions)])
    return {int(place): p for p, place, known in zip(positions, at, there, strict=True) if known}


def _kept(one: Viewed, places: dict[int, int]) -> dict[Place, Bool]:
    """For each response, whether each character is in a segment that is trained on."""
    manifest = one.annotated.manifest
    found = {}
    for row in rows_at(one.annotated, list(places)):
        if characters(row) > LONGEST_SHOWN:
            continue
        for number, completion in enumerate(row.row.completions):
            size = len(recorded_text(completion.content, manifest.plan.response_text))
            found[Place(places[row.position], number)] = _of_response(row, f"{manifest.prefix}{completion.side}", size)
    return found


def _of_response(row: AnnotatedRow, prefix: str, size: int) -> Bool:
    starts: Any = row.columns[f"{prefix}_seg_text_start"]
    keep = np.array(row.columns[f"{prefix}_seg_keep"], dtype=np.bool_)
    lengths = np.diff(np.clip([0, *starts[1:], size], 0, size))
    return np.repeat(keep, np.maximum(lengths, 0))


def _apart(kept: Sequence[Bool | None]) -> float:
    """Share of characters that some directories keep and others drop; with one directory, that are dropped."""
    known = [one for one in kept if one is not None and one.size]
    if not known:
        return -1.0
    if len(kept) == 1:
        return float(np.logical_not(known[0]).mean())
    same = [one for one in known if one.size == known[0].size]
    stacked = np.stack(same)
    return float((stacked.any(axis=0) & np.logical_not(stacked.all(axis=0))).mean())
