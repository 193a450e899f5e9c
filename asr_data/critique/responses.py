"""The responses to be reviewed: of any data set, those of one side or of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from asr_data.critique.config import CritiqueSettings
from asr_data.endpoints.replies import as_text
from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.response import contents_text
from asr_data.rows import Layout, Source, detect, first_records, labelled, normalise, stored_pair
from asr_data.rows.input_guard import InputGuard
from asr_data.rows.known_columns import LABEL_ROLES
from asr_data.types import Completion, RejectedRow, Row, Side

Place: TypeAlias = tuple[int, Side]
"""Input row and side."""

_BATCH: Final = 1_000
_KNOWN: Final = ("prompt", "chosen", "rejected", "completion", "label")


def review_layout(source: Source, columns: Mapping[str, str] | None = None) -> Layout:
    """The layout of a data set whose responses are to be reviewed. Labels that it has already play no part.

    Args:
        source: the input.
        columns: role to column, where detection needs help.

    Raises:
        InputError: the columns match no layout, or the responses are made of several columns.
    """
    records = first_records(source)
    layout = detect(source.schema, records, columns or None)
    if layout.format is None:
        return layout
    names = {role: role for role in ("prompt", *layout.sides)}
    try:
        return detect(source.schema, records, names)
    except InputError as error:
        raise InputError(
            f"{source.description}: its layout is {layout.describe()}, which has labels already and no columns "
            f"{', '.join(names)} with the texts; name such columns with --columns"
        ) from error


def reading_columns(source: Source, layout: Layout, sides: Sequence[Side], prefix: str) -> str:
    """What ``--columns`` of other commands needs to read the spans; empty where they are found by their names."""
    roles = {role: column for role, column in layout.columns.items() if role not in LABEL_ROLES.values()}
    by_name = not prefix and all(role in _KNOWN and role == column for role, column in roles.items())
    if by_name and not labelled.match(source.schema, first_records(source)):
        return ""
    labels = {LABEL_ROLES[side]: f"{prefix}{side}_spans" for side in sides}
    return ",".join(f"{role}={column}" for role, column in {**roles, **labels}.items())


@dataclass(frozen=True, slots=True)
class Response:
    """A response as a critic sees it.

    Attributes:
        row: index of the input row.
        side: the column it came from.
        prompt: the request; several messages are joined into one text.
        text: contents of the response, over which labels count; reasoning and tool calls are not part of it.
        better: a better answer to compare it with.
        first: where this response with this prompt stands first; it is asked about there, once.
    """

    row: int
    side: Side
    prompt: str
    text: str
    better: str | None
    first: Place


@dataclass(frozen=True, slots=True)
class ReviewedRow:
    """An input row, and those of its responses that are reviewed. One without contents is not."""

    index: int
    source: Mapping[str, Any]
    responses: tuple[Response, ...]


@dataclass(frozen=True, slots=True)
class Responses:
    """The responses of an input; can be iterated several times.

    Attributes:
        source: the input.
        layout: roles of the columns.
        settings: which sides, and what they are compared with.
        limit: number of rows to read, from the start.
    """

    source: Source
    layout: Layout
    settings: CritiqueSettings
    limit: int | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that are reviewed.

        Raises:
            ConfigError: the rows do not have the side that was asked for.
        """
        there, wanted = self.layout.sides, self.settings.side
        if wanted == "both":
            return there
        if wanted not in there:
            raise ConfigError(f"--side {wanted}: the rows have one response each ({there[0]}); leave --side out")
        return (wanted,)

    def __iter__(self) -> Iterator[ReviewedRow | RejectedRow]:
        sides = self.sides
        seen: dict[bytes, Place] = {}
        for batch in InputGuard(self.source).watched(self.source.batches(_BATCH, 0, self.limit)):
            for raw in batch:
                if isinstance(raw, RejectedRow):
                    yield raw
                    continue
                index, record = raw
                try:
                    row = normalise(index, record, self.layout, stored_pair(record, self.layout))
                except RowRejected as rejected:
                    yield RejectedRow(index, rejected.code, rejected.message)
                    continue
                found = (self._response(row, one, seen) for one in row.completions if one.side in sides)
                yield ReviewedRow(index, record, tuple(one for one in found if one is not None))

    def _response(self, row: Row, completion: Completion, seen: dict[bytes, Place]) -> Response | None:
        text = contents_text(completion.content)
        if not text.strip():
            return None
        prompt, better = as_text(row.prompt), None
        if self.settings.better_answer and completion.side == "rejected":
            better = next((as_text(one.content) for one in row.completions if one.side == "chosen"), None)
        asked = hashlib.sha256(json.dumps([prompt, text, better]).encode()).digest()
        first = seen.setdefault(asked, (row.index, completion.side))
        return Response(row.index, completion.side, prompt, text, better, first)
