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
Results = Sequence[Mapping[str, Any]]
"""What :meth:`.credit.CreditStudy.run` gave, of some runs."""
Figure = Callable[[Mapping[str, Any]], float | None]

FIGURES: Final[Mapping[str, Figure]] = {
    "AUROC of faults": lambda pair: pair["rejected"]["auroc"],
    "AUROC − position's": lambda pair: _less(pair["rejected"]["auroc"], pair["rejected"]["position"]),
    "AUROC of faults, chosen": lambda pair: pair["chosen"]["auroc"],
    "right text, nats": lambda pair: pair["rejected"]["right"],
    "faulty text, nats": lambda pair: pair["rejected"]["faulty"],
    "right − faulty": lambda pair: _less(pair["rejected"]["right"], pair["rejected"]["faulty"]),
    "pairs right": lambda pair: _win(_margin(pair)),
    "margin, nats": lambda pair: _margin(pair),
    "end of chosen, nats": lambda pair: pair["chosen"]["end"],
    "distance": lambda pair: (pair["chosen"]["distance"] + pair["rejected"]["distance"]) / 2,
}
"""By column: of a pair of ``credit.pair_figures``; None where the pair says nothing of it."""
OF_RUNGS: Final = (
    "pairs right",
    "margin, nats",
    "right text, nats",
    "right − faulty",
    "end of chosen, nats",
    "distance",
)
"""Those that a ladder's report shows."""


def credit_report(runs: Path, groups: str = "") -> str:
    """Markdown: figures by arm, differences to DPO and to turned masks, and both at matched distance.

    Args:
        runs: of :func:`.credit.run_arms`.
        groups: how the groups of the pairs that count begin; what is matched is the distance on all pairs.
    """
    results = read_results(runs)
    return "\n".join(
        [
            _facts(results),
            "",
            *_tables(results, _ends(results), groups),
            "",
            "At matched distance: of each run the measurement that is nearest, in mean distance, to the end of the run "
            "of its seed that went least far.",
            "",
            *_tables(results, _matched(results), groups),
        ]
    )


def ladder_report(ladder: Path) -> str:
    """Markdown: of each rung DPO's figures and the other arms' differences to them, at the end and at matched distance.

    Args:
        ladder: of :func:`.ladder.run_ladder`: a directory for each rung.
    """
    rungs = {path.name: read_results(path) for path in sorted(ladder.iterdir()) if any(path.glob("*-[0-9]*.json"))}
    if not rungs:
        raise SystemExit(f"{ladder} holds no rungs with results")
    order = sorted(rungs, key=lambda name: (name != "short", name == "long"))
    lines = [f"| rung | arm | seeds | {' | '.join(OF_RUNGS)} |", f"|---|---|---|{'---:|' * len(OF_RUNGS)}"]
    for matched in (False, True):
        for rung in order:
            chosen = _matched(rungs[rung]) if matched else _ends(rungs[rung])
            lines += [f"| {rung}{', matched' * matched} {line}" for line in _rung(rungs[rung], chosen)]
    return "\n".join(lines)


def _rung(results: Results, chosen: Mapping[int, int]) -> list[str]:
    """Rows of one rung, without its name."""
    groups = _groups(results)
    arms = by_arm(results)
    plain = arms.get(PLAIN, {})
    lines = []
    for arm, runs in sorted(arms.items(), key=lambda one: one[0] != PLAIN):
        seeds = sorted(set(runs) & set(plain))
        if not seeds:
            continue
        row = []
        for title in OF_RUNGS:
            own, other = (_cells([of[seed] for seed in seeds], chosen, title, groups) for of in (runs, plain))
            row.append(_shown(own, None if arm == PLAIN else other))
        name = arm if arm == PLAIN else f"{arm} − {PLAIN}"
        lines.append(f"| {name} | {', '.join(map(str, seeds))} | {' | '.join(row)} |")
    return lines


def read_results(runs: Path) -> Results:
    """What the runs of a directory measured; an untrained arm only answers.

    Raises:
        SystemExit: there is none.
    """
    results = [json.loads(path.read_text()) for path in sorted(runs.glob("*-[0-9]*.json"))]
    results = [result for result in results if result["measured"]]
    if not results:
        raise SystemExit(f"{runs} holds no results of runs")
    return results


def by_arm(results: Results) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Arm → seed → result."""
    arms: dict[str, dict[int, Mapping[str, Any]]] = {}
    for result in results:
        arms.setdefault(result["arm"], {})[result["seed"]] = result
    return arms


def _groups(results: Results, prefix: str = "") -> list[str]:
    named = {pair["group"] for result in results for pair in result["measured"][0]["pairs"]}
    return sorted(group for group in named if group.startswith(prefix))


def _cells(runs: Results, chosen: Mapping[int, int], title: str, groups: Sequence[str]) -> Cells:
    """A figure of some runs, each at the measurement that stands for it, of the pairs of these groups."""
    known = set(groups)
    found = [_items(run["measured"][chosen[id(run)]]["pairs"], FIGURES[title]) for run in runs]
    return of_items([[item for item in of if item[0] in known] for of in found], groups)


def _tables(results: Results, chosen: Mapping[int, int], prefix: str) -> list[str]:
    groups = _groups(results, prefix)
    arms = by_arm(results)

    def cells(arm: str, title: str, seeds: Sequence[int]) -> Cells:
        return _cells([arms[arm][seed] for seed in seeds], chosen, title, groups)

    lines = [f"| arm | seeds | kept | {' | '.join(FIGURES)} |", f"|---|---|---|{'---:|' * len(FIGURES)}"]
    for arm, runs in arms.items():
        seeds = sorted(runs)
        kept = next(iter(runs.values()))["kept"]
        row = [_shown(cells(arm, title, seeds)) for title in FIGURES]
        share = f"{kept['chosen']:.2f}, {kept['rejected']:.2f}"
        lines.append(f"| {arm} | {', '.join(map(str, seeds))} | {share} | {' | '.join(row)} |")
    lines += ["", f"| difference | seeds | {' | '.join(FIGURES)} |", f"|---|---|{'---:|' * len(FIGURES)}"]
    for one, other in _compared(list(arms)):
        common = sorted(set(arms[one]) & set(arms[other]))
        if common:
            row = [_shown(cells(one, title, common), cells(other, title, common)) for title in FIGURES]
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


def _ends(results: Results) -> dict[int, int]:
    """The last measurement of each run."""
    return {id(result): len(result["measured"]) - 1 for result in results}


def _matched(results: Results) -> dict[int, int]:
    """Which measurement of each run stands for it at matched distance."""
    chosen: dict[int, int] = {}
    for seed in {result["seed"] for result in results}:
        of = {id(r): [_distance(one["pairs"]) for one in r["measured"]] for r in results if r["seed"] == seed}
        target = min(distances[-1] for distances in of.values())
        chosen |= {run: int(np.argmin(np.abs(np.array(distances) - target))) for run, distances in of.items()}
    return chosen


def _distance(pairs: Pairs) -> float:
    return float(np.mean([value for _, value in _items(pairs, FIGURES["distance"])]))


def _margin(pair: Mapping[str, Any]) -> float:
    return float(pair["chosen"]["sum"] - pair["rejected"]["sum"])


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _win(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _facts(results: Results) -> str:
    first = results[0]
    settings = ", ".join(f"{name} {value}" for name, value in first["settings"].items() if value is not None)
    minutes = sum(result["cpu_seconds"] for result in results) / 60
    unseen = len(first["measured"][0]["pairs"])
    return (
        f"{first['train_pairs']} training pairs, {unseen} unseen pairs, {len(results)} runs, "
        f"{minutes:.1f} CPU minutes. Settings: {settings}. In brackets: 95 % bootstrap intervals over groups and "
        "seeds; differences are paired."
    )
