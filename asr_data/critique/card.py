"""``README.md`` of the output, and the figures as the card and the terminal show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from asr_data.critique.figures import Figures
from asr_data.endpoints.card import card_header
from asr_data.storage import FileRecord
from asr_data.storage.card import escaped


def card(
    content: Mapping[str, Any], found: Figures, files: Mapping[str, FileRecord], schemas: Mapping[str, pa.Schema]
) -> str:
    """The text of the card; values from outside are escaped.

    Args:
        content: of ``critique.json``.
        found: the figures.
        files: config to file.
        schemas: config to schema.
    """
    critics = "\n".join(
        f"| {escaped(one['name'] or one['model'])} | {escaped(one['model'])} | {escaped(one['endpoint'])} |"
        for one in content["critics"]
    )
    figures = "\n".join(f"| {escaped(name)} | {escaped(text)} |" for name, text in lines(found))
    spans = ", ".join(f"`{escaped(column)}`" for column in content["span_columns"].values())
    better = ", with the chosen answer in view where the rejected one was reviewed" if content["better_answer"] else ""
    return f"""\
---
{card_header(files, schemas, ("preference", "llm-as-a-critic"))}---

# Responses with their faults marked

Language models marked what is wrong in the responses of {escaped(content["input"]["description"])}{better}. Made by
`asr-annotate critique` of asr-data {escaped(content["asr_data_version"])}.

The columns of the input are unchanged. Added: {spans}, lists of error spans in characters of the response (`start`,
`end`, `type`, `severity`, `reason`, `votes`, `critics`). Such a list is empty where nothing is wrong, and null where
nothing is known because no critic gave a usable answer. A character is in a span where more than half of the critics
that answered mark it. `critique_notes` says what is unknown or could not be placed, `critique_row` is the row of the
input. The config `critiques` has every critic's faults, the quotes that could not be placed, and the replies that could
not be read.

| critic | model | endpoint |
|---|---|---|
{critics}

| measured | |
|---|---:|
{figures}

The texts were read by language models, which make mistakes and can be misled by what they read: a response may hold
words that are meant for the critic. Read some of the reasons before relying on the spans.
"""


def lines(found: Figures) -> Iterator[tuple[str, str]]:
    """Every figure: its name and its value."""
    yield "rows", f"{found.rows:,}"
    for code, count in sorted(found.rejected.items()):
        yield f"rejected, {code}", f"{count:,}"
    if found.repeated:
        yield "responses that occur more than once, asked about once", f"{found.repeated:,}"
    if found.empty:
        yield "responses without contents, not reviewed", f"{found.empty:,}"
    for name, side in found.sides.items():
        unknown = side.responses - side.known
        yield f"{name}: responses", f"{side.responses:,}, {unknown:,} unknown, {side.nothing_wrong:,} without a fault"
        yield f"{name}: error spans per response", _number(side.spans_per_response)
        yield f"{name}: share of characters marked", _number(side.marked_share)
    for critic in found.critics.values():
        given = f"{critic.critiques:,}, {critic.missing:,} missing"
        yield f"{critic.critic}: critiques", given + (f" ({critic.refused:,} refused)" if critic.refused else "")
        lost = f"{critic.not_found:,} not found, {critic.ambiguous:,} ambiguous"
        yield f"{critic.critic}: faults", f"{critic.faults:,} placed, {critic.asked_again:,} asked again, {lost}"
        yield f"{critic.critic}: requests", f"{critic.requests:,}"
        yield f"{critic.critic}: tokens", f"{critic.tokens_in:,} sent, {critic.tokens_out:,} received"
        if critic.response_format is not None:
            yield f"{critic.critic}: form of replies", critic.response_format
        if critic.cost is not None:
            yield f"{critic.critic}: cost", f"{critic.cost:.4f}"
    for pair in found.agreement:
        value = f"kappa {_number(pair.kappa)}, F1 {_number(pair.f1)} over {pair.characters:,} characters"
        yield f"agreement of {pair.who[0]} and {pair.who[1]}", value


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
