"""The table: ours beside the paper's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .benchmarks import COLUMNS, Benchmark
from .harness import Harness


def table(results: Path, benchmarks: Sequence[Benchmark], harness: Harness) -> str:
    """Markdown: one row for each benchmark, each cell ``ours (paper's)``, and a mean over what all methods have.

    ``—`` is a number that is not there. Below the table stands what was not run, and why.
    """
    methods = list(COLUMNS)
    ours = {one.name: [_value(results / name / f"{one.name}.json", one) for name in methods] for one in benchmarks}
    lines = [
        "| benchmark | task | shots | " + " | ".join(COLUMNS.values()) + " |",
        "|---|---|---:|" + "---:|" * len(methods),
    ]
    for one in benchmarks:
        cells = [_cell(own, paper) for own, paper in zip(ours[one.name], _paper(one), strict=True)]
        lines.append(
            f"| {one.name} | {one.task or '—'} | {one.shots}{'' if one.shots_known else '?'} | {' | '.join(cells)} |"
        )
    whole = [one for one in benchmarks if None not in ours[one.name]]
    if whole:
        own = [_mean([ours[one.name][i] for one in whole]) for i in range(len(methods))]
        paper = [_mean([_paper(one)[i] for one in whole]) for i in range(len(methods))]
        means = " | ".join(map(_cell, own, paper))
        lines.append(f"| mean of {len(whole)} that all methods have | | | {means} |")
    notes = [f"- {one.name}: not run: {why}" for one in benchmarks if (why := harness.skipped(one)) is not None]
    guessed = [one.name for one in benchmarks if not one.shots_known]
    if guessed:
        notes.append(f"- {', '.join(guessed)}: the paper's text at hand does not say the shots")
    return "\n".join([*lines, "", "Ours, and the paper's in brackets.", *([""] if notes else []), *notes]) + "\n"


def _paper(one: Benchmark) -> Sequence[float | None]:
    return one.paper or [None] * len(COLUMNS)


def _value(path: Path, one: Benchmark) -> float | None:
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    asked = {"task": one.task, "shots": one.shots, "metric": one.metric}
    if any(found[key] != value for key, value in asked.items()):
        raise SystemExit(f"{path} was made with another task, shots or metric; remove it to measure again")
    return float(found["value"])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _cell(own: float | None, paper: float | None) -> str:
    return f"{_number(own)} ({_number(paper)})"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.4f}"
