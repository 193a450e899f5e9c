"""What long work reports while it runs."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of scoring, masking, judging and training."""

    def update(self, stage: str, rows: int, total: int, tokens: int, *, unit: str = "rows", note: str = "") -> None:
        """Cumulative counts of a stage.

        Args:
            stage: what is being done.
            rows: rows done so far.
            total: rows to do; below 1 where that is unknown.
            tokens: tokens processed so far.
            unit: what ``rows`` counts, where it is not rows.
            note: shown after the counts.
        """

    def message(self, text: str) -> None:
        """A line to keep on the screen."""


class Silent:
    """Progress that is not shown."""

    def update(self, stage: str, rows: int, total: int, tokens: int, *, unit: str = "rows", note: str = "") -> None:
        """Ignored."""

    def message(self, text: str) -> None:
        """Ignored."""
