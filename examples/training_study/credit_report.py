"""The tables of where the credit went: at the end of training, and at the same distance from the reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from .credit import PLAIN, TURNED
from .report import Cells, drawn_of, of_items, shown

Pairs = Sequence[Mapping[str, Any]]
Figure = Callable[[Mapping[str, Any]], float | None]

FIGURES: Final[Mapping[str, Figure]] = {
    "AUROC of faults": lambda pair: pair["rejected"]["auroc"],
    "AUROC − position's": lambda pair: _less(pair["rejected"]["auroc"], pair["rejected"]["position"]),
    "AUROC of faults, chosen": lambda pair: pair["chosen"]["auroc"],
    "right text, nats": lambda pair: pair["rejected"]["right"],
    "faulty text, nats": lambda pair: pair["rejected"]["faulty"],
    "right − faulty": lambda pair: _less(pair["rejected"]["right"], pair["rejected"]["faulty"]),
    "pairs right": lambda pair: _win(pair["chosen"]["sum"] - pair["rejected"]["sum"]),
    "end of chosen, nats": lambda pair: pair["chosen"]["end"],
    "distance": lambda pair: (pair["chosen"]["distance"] + pair["rejected"]["distance"]) / 2,
}
"""By column: of a pair of ``credit.pair_figures``; None where the pair says nothing of it."""


def credit_report(runs: Path, groups: str = "") -> str:
    """Markdown: figures by arm, differences to DPO and to turned masks, and both at matched distance.

    Args:
        runs: of :func:`.credit.run_arms`.
        groups: how the groups of the pairs that count begin; what is matched is the distance on all pairs.
    """
    results = [json.loads(path.read_text()) for path in sorted(runs.glob("*-[0-9]*.json"))]
    results = [result for result in results if result["measured"]]  # an untrained arm only answers
    if not results:
        raise SystemExit(f"{runs} holds no results of runs")
    last = {id(result): len(result["measured"]) - 1 for result in results}
    return "\n".join(
        [
            _facts(results),
            "",
            *_tables(results, last, groups),
            "",
            "At matched distance: of each run the measurement that is nearest, in mean distance, to the end of the run "
            "of its seed that went least far.",
            "",
            *_tables(results, _matched(results), groups),
        ]
    )


def _tables(results: Sequence[Mapping[str, Any]], chosen: Mapping[int, int], prefix: str) -> list[str]:
    named = {pair["group"] for result in results for pair in result["measured"][0]["pairs"]}
    groups = sorted(group for group in named if group.startswith(prefix))
    arms = {arm: [r for r in results if r["arm"] == arm] for arm in dict.fromkeys(r["arm"] for r in results)}
    seeds = {arm: sorted(r["seed"] for r in of) for arm, of in arms.items()}

    def cells(arm: str, title: str, own: Sequence[int]) -> Cells:
        runs = [r for seed in own for r in arms[arm] if r["seed"] == seed]
        found = [_items(r["measured"][chosen[id(r)]]["pairs"], FIGURES[title]) for r in runs]
        return of_items([[item for item in of if item[0].startswith(prefix)] for of in found], groups)

    lines = [f"| arm | seeds | kept | {' | '.join(FIGURES)} |", f"|---|---|---|{'---:|' * len(FIGURES)}"]
    for arm, own in seeds.items():
        kept = arms[arm][0]["kept"]
        row = [_shown(cells(arm, title, own)) for title in FIGURES]
        share = f"{kept['chosen']:.2f}, {kept['rejected']:.2f}"
        lines.append(f"| {arm} | {', '.join(map(str, own))} | {share} | {' | '.join(row)} |")
    lines += ["", f"| difference | seeds | {' | '.join(FIGURES)} |", f"|---|---|{'---:|' * len(FIGURES)}"]
    for one, other in _compared(list(arms)):
        common = sorted(set(seeds[one]) & set(seeds[other]))
        if common:
            row = []
            for title in FIGURES:
                row.append(_shown(cells(one, title, common), cells(other, title, common)))
            lines.append(f"| {one} − {other} | {', '.join(map(str, common))} | {' | '.join(row)} |")
    return lines


def _shown(cells: Cells, other: Cells | None = None) -> str:
    """A figure, or its difference to another one; nothing where no pair says anything of it."""
    if not cells.counts.any():
        return ""
    if other is None:
        return shown(cells.value, *drawn_of(cells))
    return shown(cells.value - other.value, np.subtract(*drawn_of(cells, other)), signed=True)


def _compared(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Each arm with DPO, and each with its turned one."""
    plain = [(arm, PLAIN) for arm in arms if arm != PLAIN and PLAIN in arms]
    return plain + [(arm, arm + TURNED) for arm in arms if arm + TURNED in arms]


def _items(pairs: Pairs, figure: Figure) -> list[tuple[str, float]]:
    found = ((pair["group"], figure(pair)) for pair in pairs)
    return [(group, value) for group, value in found if value is not None]


def _matched(results: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Which measurement of each run stands for it at matched distance."""
    chosen: dict[int, int] = {}
    for seed in {result["seed"] for result in results}:
        of = {id(r): [_distance(one["pairs"]) for one in r["measured"]] for r in results if r["seed"] == seed}
        target = min(distances[-1] for distances in of.values())
        chosen |= {run: int(np.argmin(np.abs(np.array(distances) - target))) for run, distances in of.items()}
    return chosen


def _distance(pairs: Pairs) -> float:
    return float(np.mean([value for _, value in _items(pairs, FIGURES["distance"])]))


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _win(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _facts(results: Sequence[Mapping[str, Any]]) -> str:
    first = results[0]
    settings = ", ".join(f"{name} {value}" for name, value in first["settings"].items() if value is not None)
    minutes = sum(result["cpu_seconds"] for result in results) / 60
    unseen = len(first["measured"][0]["pairs"])
    return (
        f"{first['train_pairs']} training pairs, {unseen} unseen pairs, {len(results)} runs, "
        f"{minutes:.1f} CPU minutes. Settings: {settings}. In brackets: 95 % bootstrap intervals over groups and "
        "seeds; differences are paired."
    )
