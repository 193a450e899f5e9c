"""What an open page works on: the directories, the settings that are tried, and the labels."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from asr_data.config import MaskConfig
from asr_data.errors import AsrDataError, ConfigError, InputError
from asr_data.types import Int64
from asr_data.view.escape import visible
from asr_data.view.server.controls import Scale, complete, controls
from asr_data.view.server.directories import Viewed
from asr_data.view.server.keep import SettingsFile
from asr_data.view.server.questions import (
    BackAsked,
    FiguresAsked,
    KeepAsked,
    MasksAsked,
    NextAsked,
    RowsAsked,
    SaveAsked,
    TabAsked,
)
from asr_data.view.server.queue import Place
from asr_data.view.server.rows import Rows
from asr_data.view.server.table import RowTable

if TYPE_CHECKING:
    from asr_data.view.server.labels import Labels, LabelSettings
    from asr_data.view.server.trials import Trials

HEAD_START: Final = 1.0
"""Seconds that the page has for its first rows before tokenizers are loaded, which slows everything else down."""


class Session:
    """Everything that the server answers from; may be asked by several threads.

    Args:
        viewed: the directories, the first of which says which rows there are, and has the settings that are tried.
        keeping: where settings that were chosen go.
        labelling: where labels go, and whose they are.
    """

    def __init__(
        self,
        viewed: Sequence[Viewed],
        keeping: SettingsFile | None = None,
        labelling: LabelSettings | None = None,
    ) -> None:
        self.viewed = viewed
        self._keeping = keeping
        self._labelling = labelling
        self._rows = Rows(viewed)
        self._table = RowTable(viewed)
        self._lock = threading.Lock()
        self._shown = threading.Event()

    def prepare(self) -> None:
        """Load tokenizers and read what the first change of a setting needs, after the first rows were sent."""
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        self._shown.wait(HEAD_START)
        for one in self.viewed:
            one.prepare()
        if self.viewed[0].fixed is None:
            with suppress(AsrDataError):  # said where a setting is changed
                self._trials.sample()

    @property
    def is_ready(self) -> bool:
        """Whether tokenizers are loaded, or cannot be."""
        return all(one.is_ready for one in self.viewed)

    @cached_property
    def _made_trials(self) -> Trials:
        from asr_data.view.server.trials import Trials

        return Trials(self.viewed[0], self._labels)

    @property
    def _trials(self) -> Trials:
        with self._lock:
            return self._made_trials

    @cached_property
    def _labels(self) -> Labels | None:
        if self._labelling is None:
            return None
        from asr_data.view.server.labels import Labels

        return Labels(self.viewed, self._labelling)

    def facts(self) -> dict[str, Any]:
        """What the page's scripts know from the start."""
        first = self.viewed[0].annotated.manifest
        return {
            "total": self.viewed[0].rows,
            "sides": first.sides,
            "orders": self._table.orders(),
            "notes": [visible(note) for note in self._table.notes()],
            "labels": self._labelling is not None and self.viewed[0].rows > 0,
            "settings": None if first.mask is None else complete(first.mask),
            "gold": any(one.gold is not None for one in self.viewed),
            **self.state(),
        }

    def state(self) -> dict[str, Any]:
        """What changes when tokenizers are there."""
        return {
            "ready": self.is_ready,
            "frames": self._rows.frames(),
            "controls": [] if self.viewed[0].fixed is not None else controls(Scale(**self._rows.scale)),
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
            offset = self._place_of(asked.row, asked.pair, positions)
            offset -= offset % asked.count
        page = self._rows.page([int(place) for place in positions[offset : offset + asked.count]])
        self._shown.set()
        return {"total": len(positions), "offset": offset, **page}

    def _place_of(self, row: int, pair: int | None, positions: Int64 | range) -> int:
        position = self.viewed[0].position(row, pair)
        if position is None:
            raise InputError(f"there is no annotated row {row}" + ("" if pair is None else f", pair {pair}"))
        places = np.flatnonzero(np.asarray(positions) == position)
        if not places.size:
            raise InputError(f"the filters leave out row {row}")
        return int(places[0])

    def masks(self, asked: MasksAsked) -> dict[str, Any]:
        """Rewards, segments and masks of some rows at settings that are tried.

        Raises:
            ConfigError: the settings are invalid, or cannot be changed here.
        """
        config, trials = self._tried(asked.settings)
        if any(position >= self.viewed[0].rows for position in asked.positions):
            raise InputError(f"there are {self.viewed[0].rows:,} rows")
        return {"rows": trials.masked(asked.positions, config, rewards=asked.rewards)}

    def figures(self, asked: FiguresAsked) -> dict[str, Any]:
        """Figures of the sample at settings that are tried."""
        config, trials = self._tried(asked.settings)
        return trials.figures(config, own_labels=asked.own_labels)

    def keep(self, asked: KeepAsked) -> dict[str, Any]:
        """Write the settings, and say how to mask with them.

        Raises:
            ConfigError: the settings are invalid, or there is nowhere to write to.
            OutputExistsError: the file is there.
        """
        config, trials = self._tried(asked.settings)
        if self._keeping is None:
            raise ConfigError("this page was started without a file for settings")
        path = trials.viewed.annotated.path
        command = self._keeping.command(config, path, path.with_name(f"{path.name}-{config.segmenter.kind}"))
        if self._keeping.path.exists() and not asked.replace:
            return {"exists": str(self._keeping.path), "command": command}
        self._keeping.keep(config, replace=asked.replace)
        return {"written": str(self._keeping.path), "command": command}

    def _tried(self, settings: dict[str, Any]) -> tuple[MaskConfig, Trials]:
        if self.viewed[0].fixed is not None:
            raise ConfigError(f"settings cannot be changed: {self.viewed[0].fixed}")
        self.viewed[0].check()
        return MaskConfig.model_validate(settings), self._trials

    # --- labels ------------------------------------------------------------------------------------------

    def claim(self, asked: TabAsked) -> dict[str, Any]:
        """Let a tab label; see :meth:`asr_data.view.server.labels.Labels.claim`."""
        return self._labelled().claim(asked.tab)

    def release(self, asked: TabAsked) -> dict[str, Any]:
        """The tab labels no more."""
        return self._labelled().release(asked.tab)

    def next(self, asked: NextAsked) -> dict[str, Any]:
        """The response that comes next."""
        return self._labelled().next(asked.tab, asked.order)

    def back(self, asked: BackAsked) -> dict[str, Any]:
        """One that was judged before."""
        before = None if asked.position is None else Place(asked.position, asked.side)
        return self._labelled().back(asked.tab, before)

    def save(self, asked: SaveAsked) -> dict[str, Any]:
        """Write what a person did with a response."""
        return self._labelled().save(
            asked.tab,
            Place(asked.position, asked.side),
            [(mark.first, mark.last, mark.type, mark.severity) for mark in asked.marks],
            asked.status,
            order=asked.order,
            blind=asked.blind,
            seconds=asked.seconds,
        )

    def _labelled(self) -> Labels:
        with self._lock:
            if self._labels is None:
                raise ConfigError("this page was started without a file for labels")
            return self._labels

    def close(self) -> None:
        """Let other processes write labels."""
        with self._lock:
            if "_labels" in self.__dict__ and self._labels is not None:
                self._labels.close()
