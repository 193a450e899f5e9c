"""``README.md`` of the output, and the figures as the card and the terminal show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from asr_data.endpoints.card import card_header
from asr_data.judging.figures import Agreement, Figures
from asr_data.statistics.bootstrap import Estimate
from asr_data.storage import FileRecord
from asr_data.storage.card import escaped


def card(
    content: Mapping[str, Any], found: Figures, files: Mapping[str, FileRecord], schemas: Mapping[str, pa.Schema]
) -> str:
    """The text of the card; values from outside are escaped.

    Args:
        content: of ``judge.json``.
        found: the figures.
        files: config to file.
        schemas: config to schema.
    """
    judges = "\n".join(
        f"| {escaped(judge['name'] or judge['model'])} | {escaped(judge['model'])} | {escaped(judge['endpoint'])} |"
        for judge in content["judges"]
    )
    rows = [("pairs", found.pairs), ("identical answers, counted as ties", found.identical)]
    rows += [(f"decided: {name}" if name != "undecided" else name, count) for name, count in found.decisions.items()]
    rows += [("decided by the expert alone", found.by_expert)]
    counts = "\n".join(f"| {name} | {count} |" for name, count in rows)
    figures = "\n".join(f"| {escaped(name)} | {escaped(text)} | {count} |" for name, text, count in lines(found))
    return f"""\
---
{card_header(files, schemas, ("preference", "llm-as-a-judge"))}---

# Judged pairs of answers

Language models judged which of two answers is better, in both orders. `first` is
{escaped(content["columns"]["first"])}, `second` is {escaped(content["columns"]["second"])}, both from
{escaped(content["input"]["description"])}. Made by `asr-annotate judge` of asr-data
{escaped(content["asr_data_version"])}.

A judge's vote is its verdict if it is the same in both orders. {_people(content)}The majority is what more than half of
all voters vote for. Pairs without a majority are undecided; `undecided.csv` lists them for an expert.

| judge | model | endpoint |
|---|---|---|
{judges}

| | pairs |
|---|---:|
{counts}

| measured | value (95 % interval) | items |
|---|---|---:|
{figures}

Ties count half; so do undecided pairs in the win rate over all pairs. Intervals are by bootstrap over prompts.
"""


def _people(content: Mapping[str, Any]) -> str:
    """A sentence about columns of people's votes, if there are any."""
    columns = content["columns"]["votes"]
    return f"People voted in {', '.join(map(escaped, columns))}. " if columns else ""


def lines(found: Figures) -> list[tuple[str, str, int]]:
    """Every figure: its name, its value with interval, and the number of items."""
    rows = [_estimate("win rate of first, all pairs", found.win_rate)]
    rows.append(_estimate("win rate of first, decided pairs", found.win_rate_decided))
    rows += [_estimate(f"win rate of first, {name}", value) for name, value in found.criteria.items()]
    rows += [_estimate(f"{one.column}: win rate of first", one.win_rate) for one in found.people]
    for judge in found.judges:
        rows.append(_estimate(f"{judge.judge}: win rate of first", judge.win_rate))
        rows.append(_estimate(f"{judge.judge}: prefers the answer shown first (0.5: no bias)", judge.shown_first))
        rows.append(_estimate(f"{judge.judge}: same verdict in both orders", judge.consistent))
    rows += [_agreement(value) for value in (*found.agreement, *found.expert) if value.count]
    return rows


def estimate_text(estimate: Estimate) -> str:
    """``0.61 (0.52 to 0.70)``, or a dash."""
    if estimate.value is None:
        return "–"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def agreement_text(value: Agreement) -> str:
    """``0.80, kappa 0.61``."""
    kappa = "" if value.kappa is None else f", kappa {value.kappa:.2f}"
    return "–" if value.share is None else f"{value.share:.2f}{kappa}"


def _estimate(name: str, estimate: Estimate) -> tuple[str, str, int]:
    return name, estimate_text(estimate), estimate.items


def _agreement(value: Agreement) -> tuple[str, str, int]:
    return f"agreement of {value.who[0]} and {value.who[1]}", agreement_text(value), value.count
