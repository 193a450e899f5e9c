"""Progress of a run that began earlier, or that does one part of a data set."""

from __future__ import annotations

from asr_data.progress import Progress
from asr_data.storage.output import OutputDirectory


class PartProgress:
    """Progress over the rows of one part.

    Args:
        progress: receives it.
        rows: the part's rows, of those of the whole data set.
    """

    def __init__(self, progress: Progress, rows: range) -> None:
        self._progress, self._rows = progress, rows

    def update(self, stage: str, rows: int, total: int, tokens: int, *, unit: str = "rows", note: str = "") -> None:
        """Passed on, counted from the part's first row."""
        del total
        self._progress.update(stage, rows - self._rows.start, len(self._rows), tokens, unit=unit, note=note)

    def message(self, text: str) -> None:
        """Passed on."""
        self._progress.message(text)


def report_state(directory: OutputDirectory, progress: Progress) -> None:
    """Report where an earlier run began the output, or finished it."""
    if directory.is_finished:
        progress.message(f"{directory.path} is already complete and unchanged: nothing to do")
    elif directory.is_continued:
        progress.message(f"resuming the run started in {directory.path}; the shards it committed are kept")
