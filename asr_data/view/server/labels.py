"""Labelling: which response comes next, what is marked in it, and how far one is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from asr_data.errors import ConfigError
from asr_data.evaluation.gold import Gold, journal_gold
from asr_data.labelling import Entry, LabelJournal, Mark, agreements, last_done
from asr_data.labelling.journal import SEVERITIES, Severity, response_of
from asr_data.types import Completion, Side
from asr_data.view.client.rows import plain_number
from asr_data.view.escape import visible
from asr_data.view.reading import AnnotatedRow, rows_at
from asr_data.view.server.directories import Viewed
from asr_data.view.server.queue import Order, Place, by_chance, by_disagreement
from asr_data.view.server.units import Unit, as_json, span_of, units_in, units_of
from asr_data.view.terminal import prompt_text

KINDS: Final = ("factual", "reasoning", "instruction", "irrelevant", "unsafe", "language", "other")
TARGET: Final = 50
"""Responses that are asked for."""
SILENCE: Final = 20.0
"""Seconds after which a tab that is not heard of any more has gone."""


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """How labels are made: into which file, by whom, and which kinds of faults there are."""

    path: Path
    annotator: str
    kinds: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        if not self.annotator.strip() or len(self.annotator) > 100:
            raise ConfigError("--annotator must be a name of 1 to 100 characters")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds) or not all(0 < len(k) <= 60 for k in self.kinds):
            raise ConfigError("--kinds must be different words of 1 to 60 characters")


class Labels:
    """The labels of one person on the first directory's responses. May be asked by several threads.

    Args:
        viewed: the directories.
        settings: where labels go.
        clock: seconds that never go back.
    """

    def __init__(
        self, viewed: Sequence[Viewed], settings: LabelSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._viewed, self._clock = viewed, clock
        self._lock = threading.RLock()
        self._journal: LabelJournal | None = None
        self._tab, self._heard = "", 0.0
        self._orders: dict[Order, list[Place]] = {}
        self.version = 0

    # --- one tab at a time -------------------------------------------------------------------------------

    def claim(self, tab: str) -> dict[str, Any]:
        """Give the journal to a tab, or let it keep it.

        Raises:
            ConfigError: another tab has it, or it labels another data set.
            OutputExistsError: another process has it.
            StorageError: it cannot be written.
        """
        with self._lock:
            now = self._clock()
            if self._tab not in ("", tab) and now - self._heard < SILENCE:
                raise ConfigError(
                    "another tab of this page is labelling: close it, or wait until it has been silent for "
                    f"{SILENCE:.0f} seconds"
                )
            self._opened()
            self._tab, self._heard = tab, now
            return {
                "kinds": [visible(kind) for kind in self.settings.kinds],
                "severities": SEVERITIES,
                "file": visible(str(self.settings.path)),
                "annotator": visible(self.settings.annotator),
            }

    def release(self, tab: str) -> dict[str, Any]:
        """The tab is done; another may label."""
        with self._lock:
            if self._tab == tab:
                self._tab = ""
            return {}

    def _require(self, tab: str) -> None:
        if self._tab != tab:
            raise ConfigError("another tab of this page is labelling by now; reload this one to take over from it")
        self._heard = self._clock()

    def _opened(self) -> LabelJournal:
        if self._journal is None:
            journal = LabelJournal(self.settings.path)
            try:
                self._require_same_texts(journal.entries)
            except Exception:
                journal.close()
                raise
            self._journal = journal
            self.version += 1
        return self._journal

    def _require_same_texts(self, entries: Sequence[Entry]) -> None:
        """Refuses a journal whose rows have other texts here: its marks would come to stand on other words."""
        places = {entry.key[1:]: (entry, self._place(entry)) for entry in entries}
        first = self._viewed[0].annotated
        rows = {row.position: row for row in rows_at(first, {at.position for _, at in places.values() if at})}
        for entry, at in places.values():
            if at is None:
                continue
            row = rows[at.position].row
            here = response_of(row.prompt), response_of(row.completions[at.side].content)
            if (entry.prompt, entry.completion) != here:
                raise ConfigError(
                    f"{self.settings.path}: labels another data set: row {entry.asr_row}, {entry.side}, has another "
                    f"text there than in {first.path}; name another file with --labels"
                )

    def close(self) -> None:
        """Let other processes label."""
        with self._lock:
            if self._journal is not None:
                self._journal.close()

    # --- responses ---------------------------------------------------------------------------------------

    def next(self, tab: str, order: Order) -> dict[str, Any]:
        """The first response in an order that this person has neither judged nor skipped; an open one comes first."""
        with self._lock:
            self._require(tab)
            mine = self._opened().latest(self.settings.annotator)
            places = self._places(order)
            left = [place for place in places if self._status(mine, place) not in ("done", "skipped")]
            found = next((place for place in left if self._status(mine, place) == "open"), None) or (
                left[0] if left else None
            )
            if found is None:
                return {"response": None, "progress": self._progress(), "candidates": len(places)}
            return {"response": self._shown(found, order), "progress": self._progress(), "candidates": len(places)}

    def back(self, tab: str, before: Place | None) -> dict[str, Any]:
        """The response that this person judged last, or before another one."""
        with self._lock:
            self._require(tab)
            judged = [self._place(entry) for entry in self._opened().entries if self._is_mine(entry)]
            order = list(dict.fromkeys(place for place in reversed(judged) if place is not None))
            rest = order[order.index(before) + 1 :] if before in order else order
            return {"response": self._shown(rest[0], "hand") if rest else None, "progress": self._progress()}

    def _is_mine(self, entry: Entry) -> bool:
        return entry.annotator == self.settings.annotator and entry.status in ("done", "skipped")

    def _status(self, mine: Mapping[Any, Entry], place: Place) -> str:
        entry = mine.get(self._key(place))
        return "" if entry is None else entry.status

    def _key(self, place: Place) -> tuple[int, int, Side]:
        first = self._viewed[0]
        return (
            int(first.indices[place.position]),
            first.pair_of(place.position),
            first.annotated.manifest.sides[place.side],
        )

    def _place(self, entry: Entry) -> Place | None:
        first = self._viewed[0]
        position = first.position(entry.asr_row, entry.asr_pair)
        sides = first.annotated.manifest.sides
        return None if position is None or entry.side not in sides else Place(position, sides.index(entry.side))

    def _places(self, order: Order) -> list[Place]:
        if order not in self._orders:
            make = by_disagreement if order == "disagreement" else by_chance
            self._orders[order] = make(self._viewed)
        return self._orders[order]

    def _row(self, place: Place) -> tuple[AnnotatedRow, Completion, list[Unit]]:
        first = self._viewed[0]
        first.check()
        if not 0 <= place.position < first.rows or not 0 <= place.side < len(first.annotated.manifest.sides):
            raise ConfigError("there is no such response")
        [row] = rows_at(first.annotated, [place.position])
        completion = row.row.completions[place.side]
        return row, completion, units_of(completion.content)

    def _shown(self, place: Place, order: str) -> dict[str, Any]:
        row, _, units = self._row(place)
        entry = self._opened().latest(self.settings.annotator).get(self._key(place))
        marks = [] if entry is None else list(entry.marks)
        found = [(mark, units_in(units, mark.start, mark.end)) for mark in marks]
        return {
            "position": place.position,
            "side": place.side,
            "row": row.row.index,
            **({} if row.row.pair is None else {"pair": row.row.pair}),
            "order": entry.chosen_by if entry is not None and order == "hand" else order,
            "status": "" if entry is None else entry.status,
            "prompt": visible(prompt_text(row.row.prompt).strip("\n")),
            "units": as_json(units),
            "marks": [
                {"first": at[0], "last": at[1], "type": visible(mark.type), "severity": mark.severity}
                for mark, at in found
                if at is not None
            ],
        }

    def save(
        self,
        tab: str,
        place: Place,
        marks: Sequence[tuple[int, int, str, Severity]],
        status: Literal["open", "done", "skipped"],
        *,
        order: Literal["disagreement", "chance", "hand"],
        blind: bool,
        seconds: float,
    ) -> dict[str, Any]:
        """Write what a person did; it is on disk when this returns.

        Args:
            tab: which asks.
            place: the response.
            marks: first and last unit, kind and severity.
            status: whether the person is done with it.
            order: how the response came up.
            blind: whether scores and verdict were hidden throughout.
            seconds: since it was shown.

        Raises:
            ConfigError: another tab has the journal, or a mark is on no text.
            StorageError: it cannot be written.
        """
        with self._lock:
            self._require(tab)
            row, completion, units = self._row(place)
            made = tuple(self._mark(units, *mark) for mark in marks)
            index, pair, side = self._key(place)
            self._opened().add(
                Entry(
                    asr_row=index,
                    asr_pair=pair,
                    side=side,
                    annotator=self.settings.annotator,
                    status=status,
                    prompt=response_of(row.row.prompt),
                    completion=response_of(completion.content),
                    marks=made,
                    completion_spans=made if status == "done" else None,
                    chosen_by=order,
                    blind=blind,
                    seconds=round(seconds, 1),
                    at=datetime.now(UTC).isoformat(timespec="seconds"),
                )
            )
            self.version += status != "open"
            return {"progress": self._progress()}

    def _mark(self, units: Sequence[Unit], first: int, last: int, kind: str, severity: Severity) -> Mark:
        shown = {visible(one): one for one in self.settings.kinds}
        span = span_of(units, first, last) if 0 <= first <= last < len(units) else None
        if span is None:
            raise ConfigError("a mark must be on text that the assistant wrote as its answer")
        return Mark(start=span[0], end=span[1], type=shown.get(kind, kind), severity=severity)

    # --- how far -----------------------------------------------------------------------------------------

    def _progress(self) -> dict[str, Any]:
        done = last_done(self._opened().entries)
        mine = [entry for entry in done.values() if entry.annotator == self.settings.annotator]
        return {
            "done": len(mine),
            "target": TARGET,
            "faulty": sum(bool(entry.marks) for entry in mine),
            "marks": sum(len(entry.marks) for entry in mine),
            "median": plain_number(float(np.median([entry.seconds for entry in mine]))) if mine else None,
            "agreement": [
                {"who": [visible(name) for name in one.who], "responses": count, "kappa": one.kappa, "f1": one.f1}
                for one, count in agreements(done.values())
            ],
        }

    def gold(self) -> tuple[Gold, list[int]] | None:
        """The labels so far as gold, of everybody, and the positions of their rows; None where there are none."""
        with self._lock:
            if self._journal is None:
                if not self.settings.path.is_file():
                    return None
                from asr_data.labelling import read_entries

                entries = read_entries(self.settings.path)
            else:
                entries = self._journal.entries
            done = list(last_done(entries).values())
            places = [self._place(entry) for entry in done]
        positions = sorted({place.position for place in places if place is not None})
        return (journal_gold(done, "labels on this page"), positions) if positions else None
