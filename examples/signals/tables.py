"""The tables of ``docs/evidence.md`` from the findings of the bench."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from asr_data.statistics.bootstrap import Estimate
from examples.signals.data import DATA_SETS
from examples.signals.measure import AUROC, CONTROLS, FEWEST, MASKS, SEGMENTERS, SIDES, Finding

TITLES: Final = {data.name: data.title for data in DATA_SETS}


def findings_table(found: Sequence[Finding], measure: str, segmenter: str) -> str:
    """Signals by row, sides of data sets by column; ``*`` where both controls are beaten, each interval above 0."""
    columns = _columns(found)
    rows = []
    for signal in dict.fromkeys(one.signal for one in found):
        by_column = {
            (one.data, one.side): one
            for one in found
            if (one.signal, one.measure, one.segmenter) == (signal, measure, segmenter)
        }
        rows.append([signal, *(_cell(by_column.get(column)) for column in columns)])
    counts = [_responses(found, column, measure) for column in columns]
    header = [f"{_title(data)}, {side} ({count})" for (data, side), count in zip(columns, counts, strict=True)]
    return table(["", *header], rows)


def differences_table(found: Sequence[Finding], measure: str, segmenter: str) -> str:
    """How much better than each control, with intervals: what is clear of 0 first, then what is not."""
    rows = []
    for one in found:
        if (one.measure, one.segmenter) != (measure, segmenter) or not _shown(one):
            continue
        worst = min((ahead.low for ahead in one.ahead.values() if ahead.low is not None), default=None)
        if worst is not None:
            cells = [signed(one.ahead.get(control)) for control in CONTROLS]
            rows.append((worst, [one.signal, f"{_title(one.data)}, {one.side}", plain(one.estimate), *cells]))
    ordered = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    return table(["", "", "figure", *(f"− {control}" for control in CONTROLS)], ordered)


def segmenters_table(found: Sequence[Finding], measure: str) -> str:
    """Signals by row, segmenters by column: means over the rejected sides, chosen on one half, reported on the other.

    Without Mr-Ben, where position alone is perfect, and without signals that were not measured on all of the others.
    """
    compared = [one for one in found if one.side == "rejected" and one.data != "first" and one.measure == measure]
    compared = [one for one in compared if _shown(one)]
    data_sets = {one.data for one in compared}
    rows = []
    for signal in dict.fromkeys(one.signal for one in compared):
        mine = [one for one in compared if one.signal == signal]
        if {one.data for one in mine} != data_sets:
            continue
        means = {
            segmenter: (
                _mean(one.choosing for one in mine if one.segmenter == segmenter),
                _mean(one.estimate.value for one in mine if one.segmenter == segmenter),
            )
            for segmenter in SEGMENTERS
        }
        best = max(means, key=lambda name: means[name][0])
        cells = [
            f"**{judged:.3f}** ({choosing:.3f})" if name == best else f"{judged:.3f} ({choosing:.3f})"
            for name, (choosing, judged) in means.items()
        ]
        rows.append([signal, *cells])
    return table(["", *SEGMENTERS], rows)


def beaten(found: Sequence[Finding], segmenter: str) -> list[str]:
    """A line for every signal and side that does not beat each control in AUROC with its interval clear of 0."""
    lines = []
    for one in found:
        if (one.measure, one.segmenter) == (AUROC, segmenter) and one.ahead and _shown(one):
            behind = [name for name, ahead in one.ahead.items() if ahead.low is None or ahead.low <= 0]
            if behind:
                lines.append(f"{one.signal}, {_title(one.data)}, {one.side}: not above {' or '.join(behind)}")
    return lines


def _columns(found: Sequence[Finding]) -> list[tuple[str, str]]:
    there = {(one.data, one.side) for one in found if _shown(one)}
    return [(data, side) for data in TITLES for side in SIDES if (data, side) in there]


def _responses(found: Sequence[Finding], column: tuple[str, str], measure: str) -> int:
    return max(one.estimate.items for one in found if (one.data, one.side, one.measure) == (*column, measure))


def _shown(one: Finding) -> bool:
    return one.estimate.value is not None and one.estimate.items >= FEWEST


def _cell(one: Finding | None) -> str:
    if one is None or not _shown(one):
        return "–"
    clear = bool(one.ahead) and all(ahead.low is not None and ahead.low > 0 for ahead in one.ahead.values())
    return plain(one.estimate) + ("\\*" if clear else "")


def _title(data: str) -> str:
    return TITLES[data]


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def plain(estimate: Estimate) -> str:
    """A figure with its interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def signed(estimate: Estimate | None) -> str:
    """A difference with its interval."""
    if estimate is None or estimate.value is None:
        return "–"
    return f"{estimate.value:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def blocks(found: Sequence[Finding], segmenter: str) -> Mapping[str, str]:
    """The blocks of the page by the names of their marks."""
    lines = beaten(found, segmenter)
    return {
        "signals-beaten": "".join(f"- {line}\n" for line in lines) or "None.\n",
        "signals-auroc": findings_table(found, AUROC, segmenter),
        "signals-masks": findings_table(found, MASKS, segmenter),
        "signals-differences": differences_table(found, AUROC, segmenter),
        "signals-segmenters-auroc": segmenters_table(found, AUROC),
        "signals-segmenters": segmenters_table(found, MASKS),
    }
