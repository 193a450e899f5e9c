"""Rows as the page shows them: every directory's answer to the same input row."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_data.view.client.rows import colour_spread, page_rows
from asr_data.view.escape import visible
from asr_data.view.model import row_views
from asr_data.view.reading import LONGEST_SHOWN, AnnotatedRow, characters, rows_at
from asr_data.view.server.directories import Viewed

if TYPE_CHECKING:
    from asr_data.text import Tokenizer

SCALE_ROWS = 40
"""Rows that say how far colours reach."""


class Rows:
    """The rows of some directories of the same input.

    Args:
        viewed: the directories; the first one's rows are shown, with what the others have of them.
    """

    def __init__(self, viewed: Sequence[Viewed]) -> None:
        self.viewed = viewed
        self._lock = threading.Lock()  # a tokenizer is not made for two threads

    def frames(self) -> list[dict[str, Any]]:
        """What the responses of each directory have in common; the chart of their curves is asked for separately."""
        with self._lock:
            return [
                {**scale, "unit": _unit(one.tokenizer), "fixed": None if one.fixed is None else visible(one.fixed)}
                for one, scale in zip(self.viewed, self._scales, strict=True)
            ]

    @cached_property
    def _scales(self) -> list[dict[str, Any]]:
        return [self._scale(one) for one in self.viewed]

    @cached_property
    def _first_sample(self) -> list[AnnotatedRow]:
        return rows_at(self.viewed[0].annotated, self.viewed[0].sample(SCALE_ROWS))

    def _scale(self, one: Viewed) -> dict[str, Any]:
        manifest = one.annotated.manifest
        drawn = self._first_sample if one is self.viewed[0] else rows_at(one.annotated, one.sample(SCALE_ROWS))
        rows = [row for row in drawn if characters(row) <= LONGEST_SHOWN]
        names = [f"{manifest.prefix}{side}_reward" for side in manifest.sides]
        known = sorted(row.columns[name] for row in rows for name in names if row.columns[name] is not None)
        views = row_views(one.annotated, rows, baselines=one.baselines())
        return {
            "name": visible(one.name),
            "spread": colour_spread(views, rows, manifest.prefix) if rows else 1.0,
            "centre": float(known[len(known) // 2]) if known else 0.0,
            "scorer": visible(manifest.scorer.name),
            "settings": None if manifest.mask is None else manifest.mask.model_dump(mode="json"),
        }

    @cached_property
    def scale(self) -> dict[str, float]:
        """What rewards of the first directory are like: ``low`` and ``high`` of a response's, ``spread`` of tokens'."""
        one = self.viewed[0]
        manifest = one.annotated.manifest
        rows = self._first_sample
        rewards = [row.columns[f"{manifest.prefix}{side}_reward"] for row in rows for side in manifest.sides]
        tokens = [row.columns[f"{manifest.prefix}{side}_token_reward"] for row in rows for side in manifest.sides]
        known = np.array([reward for reward in rewards if reward is not None], dtype=np.float64)
        flat = np.array([reward for response in tokens for reward in response if reward is not None], dtype=np.float64)
        if not known.size or not flat.size:
            return {}
        low, high = np.quantile(flat, (0.01, 0.99)).tolist()
        return {"low": float(known.min()), "high": float(known.max()), "spread": high - low if high > low else 1.0}

    def page(self, positions: Sequence[int]) -> dict[str, Any]:
        """The rows at positions of the first directory, in this order, and which ``units`` each directory's have.

        Raises:
            CorruptFileError: a directory changed since it was opened.
            InputError: a tokenizer gives other tokens than the directory has.
        """
        for one in self.viewed:
            one.check()
        with self._lock:
            tokenizers = [one.tokenizer for one in self.viewed]  # one that is loaded meanwhile counts for the next page
            shown = [
                self._of(one, tokenizer, self.places(one, positions))
                for one, tokenizer in zip(self.viewed, tokenizers, strict=True)
            ]
        rows = []
        for position in positions:
            panels = [found.get(position) for found in shown]
            first = next(panel for panel in panels if panel is not None)
            rows.append({"position": position, **first, "panels": [None if p is None else p["sides"] for p in panels]})
            del rows[-1]["sides"]
        return {"rows": rows, "units": [_unit(tokenizer) for tokenizer in tokenizers]}

    def places(self, one: Viewed, positions: Sequence[int]) -> dict[int, int]:
        """Position in the first directory → position of the same row in another, where that has it."""
        if one is self.viewed[0]:
            return {position: position for position in positions}
        at, there = one.find(self.viewed[0].keys[list(positions)])
        return {p: int(place) for p, place, known in zip(positions, at, there, strict=True) if known}

    def _of(self, one: Viewed, tokenizer: Tokenizer | None, places: dict[int, int]) -> dict[int, dict[str, Any]]:
        rows = rows_at(one.annotated, list(places.values()))
        shown = [row for row in rows if characters(row) <= LONGEST_SHOWN]
        views = row_views(one.annotated, shown, one.gold, one.baselines())
        by_place = {
            row.position: made
            for row, made in zip(shown, page_rows(views, shown, tokenizer, one.annotated.manifest.prefix), strict=True)
        }
        by_place |= {row.position: _too_long(row) for row in rows if row.position not in by_place}
        return {position: by_place[place] for position, place in places.items()}


def _unit(tokenizer: Tokenizer | None) -> str:
    """What is tinted."""
    return "segment" if tokenizer is None else "token"


def _too_long(row: AnnotatedRow) -> dict[str, Any]:
    """A row that is named and not shown."""
    size = characters(row)
    note = f"{size:,} characters, and at most {LONGEST_SHOWN:,} are shown"
    pair = {} if row.row.pair is None else {"pair": row.row.pair}
    return {"row": row.row.index, **pair, "prompt": "", "notes": [note], "sides": []}
