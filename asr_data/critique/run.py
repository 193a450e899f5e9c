"""From a data set to the same data set with its faults marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from asr_data.critique import output as directory
from asr_data.critique.config import CRITIC, Critic, CritiqueSettings, check_critics
from asr_data.critique.figures import Figures
from asr_data.critique.journal import JOURNAL_NAME, Critique, Key, read_critiques
from asr_data.critique.responses import Response, Responses, ReviewedRow, reading_columns
from asr_data.critique.session import tasks
from asr_data.critique.votes import error_spans
from asr_data.endpoints.client import Client
from asr_data.endpoints.config import RequestSettings
from asr_data.endpoints.journal import Journal, storage_errors
from asr_data.endpoints.session import Session, check_budget
from asr_data.errors import InputError
from asr_data.progress import Progress
from asr_data.rows import Layout, Source
from asr_data.storage.card import check_features
from asr_data.storage.columns import check_collisions, with_added
from asr_data.types import RejectedRow, Side
from asr_data_schemas import REJECTS_SCHEMA


@dataclass(frozen=True, slots=True)
class CritiqueReport:
    """Result of :func:`critique`.

    Attributes:
        path: the directory.
        figures: what was found, what is unknown, agreement, cost.
        asked: critiques requested by this run.
        columns: what ``--columns`` of other commands needs to read the spans; empty where they are found by their name.
    """

    path: Path
    figures: Figures
    asked: int
    columns: str


def critique(
    source: Source,
    layout: Layout,
    output: Path,
    critics: Sequence[Critic],
    *,
    settings: CritiqueSettings = CritiqueSettings(),  # noqa: B008 - frozen
    limit: int | None = None,
    prefix: str = "",
    requests: RequestSettings = RequestSettings(),  # noqa: B008 - frozen
    overwrite: bool = False,
    progress: Progress | None = None,
) -> CritiqueReport:
    """Ask critics for the faults of responses, and write the input with columns of error spans.

    Critiques of an earlier run are kept.

    Args:
        source: the input.
        layout: roles of its columns.
        output: the directory to write to.
        critics: the models to ask.
        settings: what they are asked.
        limit: number of rows to review, from the start; a later run may review more.
        prefix: put before every added column.
        requests: how requests are made.
        overwrite: discard earlier critiques.
        progress: receives the counts.

    Raises:
        ConfigError: invalid critics or settings, an added column that the input has, or the package ``openai`` is
            missing.
        InputError: no row can be reviewed.
        OutputExistsError: ``output`` contains other files, or critiques for other settings.
        CriticError: requests failed after all retries, or the budget is spent; critiques so far are kept.
    """
    check_critics(critics, settings)
    responses = Responses(source, layout, settings, limit)
    added = directory.added_fields(responses.sides, prefix)
    check_collisions(source.schema.names, [field.name for field in added])
    check_features(source.schema)
    clients = {critic.title: Client(critic, requests, CRITIC) for critic in critics}
    check_budget(requests, clients)
    plan = _plan(source, layout, critics, settings)
    with storage_errors(output, CRITIC.answers):
        directory.prepare(output, plan, overwrite=overwrite)
        journal = Journal(output / JOURNAL_NAME, plan)
    try:
        critiques = read_critiques(output / JOURNAL_NAME)
        before = len(critiques)
        asking = partial(tasks, responses, clients)
        Session(CRITIC, journal, clients, requests, asking, critiques, progress).run()
        with storage_errors(output, CRITIC.answers):
            content = {**_description(responses, critics, prefix), "plan": plan}
            figures = _finish(output, content, responses, critics, critiques, added)
    finally:
        journal.close()
    return CritiqueReport(output, figures, len(critiques) - before, content["columns"])


def _plan(source: Source, layout: Layout, critics: Sequence[Critic], settings: CritiqueSettings) -> dict[str, Any]:
    """Everything that can change a critique; the limit and the prefix cannot."""
    return {
        "input": source.fingerprint,
        "layout": layout.model_dump(mode="json"),
        "settings": settings.identity(),
        "critics": {critic.title: critic.identity() for critic in critics},
    }


def _description(responses: Responses, critics: Sequence[Critic], prefix: str) -> dict[str, Any]:
    """What ``critique.json`` records about input, critics and columns."""
    source, settings = responses.source, responses.settings
    return {
        "asr_data_version": version("asr-data"),
        "input": {"description": source.description, "fingerprint": source.fingerprint, "rows": source.rows},
        "layout": responses.layout.describe(),
        "columns": reading_columns(source, responses.layout, responses.sides, prefix),
        "span_columns": {side: f"{prefix}{side}_spans" for side in responses.sides},
        "limit": responses.limit,
        "better_answer": settings.better_answer and "rejected" in responses.sides,
        "rubric": settings.rubric,
        "samples": settings.samples,
        "critics": [critic.model_dump(mode="json", exclude={"key_variable"}) for critic in critics],
    }


def _finish(
    output: Path,
    content: Mapping[str, Any],
    responses: Responses,
    critics: Sequence[Critic],
    critiques: Mapping[Key, Critique],
    added: list[pa.Field[Any]],
) -> Figures:
    """Vote on every response, compute the figures and write all files but the journal."""
    review = _Review(responses, critics, critiques)
    rejects: list[RejectedRow] = []
    directory.remove_manifest(output)
    schema = responses.source.schema
    files = {"default": directory.write_data(output, review.rows(rejects), schema, added)}
    if not files["default"].rows:
        raise InputError(f"no row can be reviewed; row {rejects[0].index}: {rejects[0].code}: {rejects[0].message}")
    schemas = {"default": with_added(schema, added), "critiques": directory.CRITIQUES_SCHEMA}
    files["critiques"] = directory.write_records(output, "critiques", review.records(), directory.CRITIQUES_SCHEMA)
    rejected = directory.write_rejects(output, rejects)
    if rejected is not None:
        files["rejects"], schemas["rejects"] = rejected, REJECTS_SCHEMA
    directory.write_description(output, content, review.figures, files, schemas)
    return review.figures


class _Review:
    """Goes through the rows with the critiques that there are."""

    def __init__(self, responses: Responses, critics: Sequence[Critic], critiques: Mapping[Key, Critique]) -> None:
        self._responses, self._critiques = responses, critiques
        samples = responses.settings.samples
        self._voters = [(critic.title, sample) for critic in critics for sample in range(samples)]
        self.figures = Figures(critics, samples, responses.sides)

    def rows(self, rejects: list[RejectedRow]) -> Iterator[tuple[Mapping[str, Any], Sequence[Any]]]:
        """Input rows with the values of the added columns; those that are rejected go to ``rejects``."""
        for row in self._responses:
            if isinstance(row, RejectedRow):
                rejects.append(row)
                self.figures.rejected[row.code] = self.figures.rejected.get(row.code, 0) + 1
            else:
                self.figures.rows += 1
                yield row.source, self._added(row)

    def _added(self, row: ReviewedRow) -> list[Any]:
        spans: dict[Side, list[dict[str, Any]] | None] = dict.fromkeys(self._responses.sides)
        notes = []
        for side in self._responses.sides:
            response = next((one for one in row.responses if one.side == side), None)
            if response is None:
                self.figures.empty += 1
                notes.append(f"{side}_has_no_contents")
                continue
            given = self._of(response)
            usable = [one.faults for one in given if one.faults is not None]
            voted = error_spans(response.text, usable) if usable else None
            self.figures.add(response, given, voted)
            if voted is None:
                notes.append(f"{side}_unknown")
            else:
                spans[side] = [
                    {
                        "start": span.start, "end": span.end, "type": span.kind, "severity": span.severity,
                        "reason": span.reason, "votes": span.votes, "critics": span.critics,
                    }
                    for span in voted
                ]  # fmt: skip
            if any(one.unplaced for one in given):
                notes.append(f"{side}_quotes_unplaced")
        return [*spans.values(), notes, row.index]

    def _of(self, response: Response) -> list[Critique]:
        row, side = response.first
        return [self._critiques[row, side, critic, sample] for critic, sample in self._voters]

    def records(self) -> Iterator[dict[str, Any]]:
        """Rows of the config ``critiques``."""
        for row in self._responses:
            if not isinstance(row, RejectedRow):
                for response in row.responses:
                    yield from (_record(response, critique) for critique in self._of(response))


def _record(response: Response, critique: Critique) -> dict[str, Any]:
    repeated = response.first != (response.row, response.side)
    faults = critique.faults
    return {
        **critique.model_dump(include={"critic", "sample", "problem", "refused", "reply"}),
        "row": response.row,
        "side": response.side,
        "faults": None if faults is None else [
            {
                "start": one.start, "end": one.end, "quote": response.text[one.start : one.end], "type": one.kind,
                "severity": one.severity, "reason": one.reason,
            }
            for one in faults
        ],
        "unplaced": [
            {"quote": one.quote, "type": one.kind, "severity": one.severity, "reason": one.reason, "why": one.why}
            for one in critique.unplaced
        ],
        "asked_again": 0 if repeated else critique.asked_again,
        "attempts": 0 if repeated else critique.attempts,
        "tokens_in": 0 if repeated else critique.tokens_in,
        "tokens_out": 0 if repeated else critique.tokens_out,
        "same_as_row": response.first[0] if repeated else None,
    }  # fmt: skip
