"""What the journal of a critique's directory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias, cast

from pydantic import BaseModel, ConfigDict

from asr_data.critique.locate import Failure
from asr_data.critique.reply import Severity
from asr_data.endpoints.config import ResponseFormat
from asr_data.endpoints.journal import Count, StorableText, read_entries
from asr_data.types import Side

JOURNAL_NAME: Final = "critiques.jsonl"

Key: TypeAlias = tuple[int, Side, str, int]
"""Input row, side, critic and sample, which identify a critique."""


class Fault(BaseModel):
    """Faulty words of a response.

    Attributes:
        start, end: their code points in the response, ``[start, end)``.
        kind, severity, reason: as the critic named them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Count
    end: Count
    kind: StorableText
    severity: Severity | None = None
    reason: StorableText = ""


class Unplaced(BaseModel):
    """A fault whose quote could not be placed in the response, also after it was asked for once more.

    Attributes:
        quote, kind, severity, reason: as the critic gave them first.
        why: whether it stands nowhere, or in several places.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quote: StorableText
    kind: StorableText
    severity: Severity | None = None
    reason: StorableText = ""
    why: Failure


class Critique(BaseModel):
    """One critic's faults of one response, or why they are missing.

    Attributes:
        row: index of the input row.
        side: the response.
        critic: the critic's name.
        sample: number of the sample, from 0.
        faults: those that were placed, in the order of the response; empty where nothing is wrong, and None where the
            critique is missing.
        unplaced: those that were not.
        asked_again: number of quotes that were asked for once more.
        problem: why the critique is missing.
        refused: it is missing because the model, or a filter before it, declined.
        reply: the last reply, if it could not be parsed.
        response_format: what the server was asked for, where that had to be found out.
        attempts: number of requests, without retries of failed ones.
        tokens_in, tokens_out: as counted by the server, over all attempts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: Count
    side: Side
    critic: str
    sample: Count = 0
    faults: tuple[Fault, ...] | None = None
    unplaced: tuple[Unplaced, ...] = ()
    asked_again: Count = 0
    problem: StorableText | None = None
    refused: bool = False
    reply: StorableText | None = None
    response_format: ResponseFormat | None = None
    attempts: Count = 1
    tokens_in: Count = 0
    tokens_out: Count = 0

    @property
    def key(self) -> Key:
        """Row, side, critic and sample."""
        return self.row, self.side, self.critic, self.sample

    @property
    def asked(self) -> str:
        """The critic."""
        return self.critic

    @property
    def is_understood(self) -> bool:
        """Whether a reply could be parsed."""
        return self.faults is not None

    @property
    def format_taken(self) -> ResponseFormat | None:
        """What the server was asked for, where that had to be found out."""
        return self.response_format

    def line(self) -> bytes:
        """The journal's line."""
        return self.model_dump_json(exclude_defaults=True).encode()


def read_critiques(path: Path) -> dict[Key, Critique]:
    """All critiques of a journal; see :func:`asr_data.endpoints.journal.read_entries`."""
    return cast("dict[Key, Critique]", read_entries(path, Critique.model_validate_json, "critique"))
