"""What an open page works on: the directories, the settings that are tried, and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asr_data.errors import InputError
from asr_data.view.server.directories import Viewed
from asr_data.view.server.rows import Rows

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

    def facts(self) -> dict[str, Any]:
        """What the page's scripts know from the start."""
        first = self.viewed[0].annotated.manifest
        return {
            "total": self.viewed[0].rows,
            "sides": first.sides,
            "frames": self._rows.frames,
            "gold": any(one.gold is not None for one in self.viewed),
        }

    def rows(self, asked: RowsAsked) -> dict[str, Any]:
        """A page of rows, in the order of the directory.

        Raises:
            InputError: there is no such row.
        """
        total, offset = self.viewed[0].rows, asked.offset
        if asked.row is not None:
            place = self._rows.position_of(asked.row)
            if place is None:
                raise InputError(f"there is no annotated row {asked.row}")
            offset = place - place % asked.count
        return {
            "total": total,
            "offset": offset,
            "rows": self._rows.page(range(offset, min(offset + asked.count, total))),
        }
