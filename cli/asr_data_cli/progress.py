"""Progress of long work: a bar on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from asr_data.progress import Progress
from asr_data.view.escape import visible
from asr_data_cli.console import duration, standard_error

LINE_SECONDS = 10.0
"""Time between two plain lines."""

Clock = Callable[[], float]


@dataclass(slots=True)
class Rate:
    """Speed since the first report of a stage.

    The first report is the zero point, not the start of the stage: rows that a resumed run found done took
    none of this run's time.
    """

    began: float
    first_rows: int
    first_tokens: int

    def status(self, now: float, rows: int, total: int, tokens: int, unit: str = "rows", note: str = "") -> str:
        """``1,200 / 2,312 rows  3,100 tokens/s  5 min left``, as far as it is known."""
        parts = [f"{rows:,} / {total:,} {unit}" if total > 0 else f"{rows:,} {unit}"]
        elapsed, new_rows, new_tokens = now - self.began, rows - self.first_rows, tokens - self.first_tokens
        if elapsed > 0 and new_tokens > 0:
            parts.append(f"{new_tokens / elapsed:,.0f} tokens/s")
        if elapsed > 0 and new_rows > 0 and total > rows:
            parts.append(f"{duration((total - rows) * elapsed / new_rows)} left")
        if note:
            parts.append(note)
        return "  ".join(parts)


class LineProgress:
    """Plain lines, at most one per :data:`LINE_SECONDS`, and one when the first stage or a long one is complete."""

    def __init__(self, write: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._stage: str | None = None
        self._rate = Rate(0.0, 0, 0)
        self._written = 0.0
        self._last = ""
        self._is_first = True

    def update(self, stage: str, rows: int, total: int, tokens: int, *, unit: str = "rows", note: str = "") -> None:
        """Write a line if it is time for one."""
        now = self._clock()
        if stage != self._stage:
            self._is_first = self._stage is None
            self._stage, self._rate, self._written = stage, Rate(now, rows, tokens), now
        is_worth_a_line = self._is_first or now - self._rate.began >= LINE_SECONDS
        is_complete = 0 < total == rows and is_worth_a_line
        if now - self._written < LINE_SECONDS and not is_complete:
            return
        line = f"{stage} {self._rate.status(now, rows, total, tokens, unit, note)}"
        if line != self._last:
            self._write(line)
        self._written, self._last = now, line

    def message(self, text: str) -> None:
        """Write the text as a line."""
        self._write(text)


class BarProgress:
    """A rich bar, of the stage that is at work."""

    def __init__(self, bar: Bar, clock: Clock = time.monotonic) -> None:
        self._bar = bar
        self._clock = clock
        self._tasks: dict[str, tuple[TaskID, Rate]] = {}

    def update(self, stage: str, rows: int, total: int, tokens: int, *, unit: str = "rows", note: str = "") -> None:
        """Move the stage's bar."""
        now = self._clock()
        if stage not in self._tasks:
            for earlier, _ in self._tasks.values():
                self._bar.update(earlier, visible=False)
            task = self._bar.add_task(visible(stage), total=None, status="")
            self._tasks[stage] = (task, Rate(now, rows, tokens))
        task, rate = self._tasks[stage]
        status = rate.status(now, rows, total, tokens, unit, note)
        self._bar.update(task, completed=rows, total=total if total > 0 else None, status=status)

    def message(self, text: str) -> None:
        """Print the text above the bars."""
        self._bar.console.print(Text(visible(text)))


@contextmanager
def progress(console: Console | None = None, *, transient: bool = False) -> Iterator[Progress]:
    """Progress on standard error, in the form that suits it; ``transient`` bars are gone when they are done."""
    console = standard_error() if console is None else console
    if not console.is_terminal:
        yield LineProgress(lambda line: console.print(Text(visible(line)), soft_wrap=True))
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Bar(*columns, console=console, transient=transient) as bar:
        yield BarProgress(bar)
