"""What an open page works on: the directories, the settings that are tried, and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_data.errors import InputError
from asr_data.types import Int64
from asr_data.view.escape import visible
from asr_data.view.server.directories import Viewed
from asr_data.view.server.rows import Rows
from asr_data.view.server.table import RowTable

if TYPE_CHECKING:
    from asr_data.view.server.app import RowsAsked


class Session:
    """Everything that the server answers from; may be asked by several threads.

    Args:
        viewed: the directories, the first of which says which rows there are.
    """

    def __init__(self, viewed: Sequence[Viewed]) -> None:
        self.viewed = viewed
        self._rows = Rows(viewed)
        self._table = RowTable(viewed)

    def facts(self) -> dict[str, Any]:
        """What the page's scripts know from the start."""
        first = self.viewed[0].annotated.manifest
        return {
            "total": self.viewed[0].rows,
            "sides": first.sides,
            "frames": self._rows.frames,
            "orders": self._table.orders(),
            "notes": [visible(note) for note in self._table.notes()],
            "gold": any(one.gold is not None for one in self.viewed),
        }

    def rows(self, asked: RowsAsked) -> dict[str, Any]:
        """A page of rows.

        Raises:
            ConfigError: the filter cannot be understood.
            InputError: there is no such row, or the filter leaves it out.
        """
        positions = self._table.positions(asked.filter)
        offset = asked.offset
        if asked.row is not None:
            offset = self._place_of(asked.row, positions)
            offset -= offset % asked.count
        return {
            "total": len(positions),
            "offset": offset,
            "rows": self._rows.page([int(place) for place in positions[offset : offset + asked.count]]),
        }

    def _place_of(self, row: int, positions: Int64 | range) -> int:
        position = self._rows.position_of(row)
        if position is None:
            raise InputError(f"there is no annotated row {row}")
        places = np.flatnonzero(np.asarray(positions) == position)
        if not places.size:
            raise InputError(f"the filters leave out row {row}")
        return int(places[0])
