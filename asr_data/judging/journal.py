"""What the journal of a judged directory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias, cast

from pydantic import BaseModel, ConfigDict

from asr_data.endpoints.config import ResponseFormat
from asr_data.endpoints.journal import Count, StorableText, read_entries
from asr_data.judging.verdict import Order, Pick

JOURNAL_NAME: Final = "verdicts.jsonl"

Key: TypeAlias = tuple[int, str, Order]
"""Input row, judge and order, which identify a verdict."""


class Verdict(BaseModel):
    """The verdict of one judge on one pair in one order, or why it is missing.

    Attributes:
        row: index of the input row.
        judge: the judge's name.
        order: which answer was shown first.
        verdict: the better answer; None if the verdict is missing.
        safety, accuracy, helpfulness: the better answer by this criterion, if the judge gave one.
        tags: what decided, in the judge's words, if its replies have the form with ``tag``.
        reason: the judge's explanation.
        problem: why the verdict is missing.
        reply: the last reply, if it could not be parsed.
        attempts: number of requests, without retries of failed ones.
        tokens_in, tokens_out: as counted by the server, over all attempts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: Count
    judge: str
    order: Order
    verdict: Pick | None = None
    safety: Pick | None = None
    accuracy: Pick | None = None
    helpfulness: Pick | None = None
    tags: tuple[StorableText, ...] = ()
    reason: StorableText = ""
    problem: StorableText | None = None
    reply: StorableText | None = None
    attempts: Count = 1
    tokens_in: Count = 0
    tokens_out: Count = 0

    @property
    def key(self) -> Key:
        """Row, judge and order."""
        return self.row, self.judge, self.order

    @property
    def asked(self) -> str:
        """The judge."""
        return self.judge

    @property
    def is_understood(self) -> bool:
        """Whether a reply could be parsed."""
        return self.verdict is not None

    @property
    def format_taken(self) -> ResponseFormat | None:
        """Replies of judges have the format that their settings name."""
        return None

    def line(self) -> bytes:
        """The journal's line."""
        return self.model_dump_json(exclude_defaults=True).encode()


def read_verdicts(path: Path) -> dict[Key, Verdict]:
    """All verdicts of a journal; see :func:`asr_data.endpoints.journal.read_entries`."""
    return cast("dict[Key, Verdict]", read_entries(path, Verdict.model_validate_json, "verdict"))
