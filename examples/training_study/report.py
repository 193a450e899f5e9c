"""The table: every figure with its interval, and the differences that the study asks about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .methods import METHODS

RESAMPLES = 4000
DIFFERENCES = (
    ("adpo", "dpo"),
    ("adpo", "adpo-turned"),
    ("adpo-detach", "dpo"),
    ("ars", "rs"),
    ("ars", "ars-turned"),
    ("appo", "grpo"),
    ("online-adpo", "online-dpo"),
    ("online-ars", "online-rs"),
)


@dataclass(frozen=True, slots=True)
class Cells:
    """One figure of one method: sums and counts float64 ``[seeds, questions]``; the figure is their quotient."""

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    def resampled(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The figure ``[resamples]`` under ``weights [resamples, seeds, questions]``."""
        sums, counts = (np.einsum("bsq,sq->b", weights, of) for of in (self.sums, self.counts))
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / counts, dtype=np.float64)

    @property
    def value(self) -> float:
        """The figure over all seeds and questions."""
        return float(self.sums.sum() / self.counts.sum())


Measure = Callable[[Mapping[str, Any], Mapping[str, Sequence[float | None]]], list[tuple[str, float]]]
"""Result of a run, rewards of its samples by scorer → ``(question, value)`` of each item."""


def measures(scorers: Sequence[str]) -> dict[str, Measure]:
    """The figures, by the heading of their column."""

    def right(tokens: str) -> Measure:
        return lambda run, _: [(p["group"], _win(p["chosen"][tokens] - p["rejected"][tokens])) for p in run["pairs"]]

    def reward(scorer: str) -> Measure:
        return lambda run, given: [
            (sample["group"], value)
            for sample, value in zip(run["samples"], given[scorer], strict=True)
            if value is not None
        ]

    return {
        "pairs right": right("all"),
        "margin, nats": lambda run, _: [(p["group"], p["chosen"]["all"] - p["rejected"]["all"]) for p in run["pairs"]],
        "pairs right, kept tokens": right("kept"),
        "chosen, nats": lambda run, _: [(p["group"], p["chosen"]["all"]) for p in run["pairs"]],
        **{f"reward by {scorer}": reward(scorer) for scorer in scorers},
        "tokens": lambda run, _: [(sample["group"], sample["tokens"]) for sample in run["samples"]],
        "ended": lambda run, _: [(sample["group"], float(sample["ended"])) for sample in run["samples"]],
    }


def report(runs: Path) -> str:
    """Markdown: what was run, the figures, the differences. A difference is over the seeds that both methods have."""
    results = [json.loads(path.read_text()) for path in sorted(runs.glob("*-[0-9]*.json"))]
    if not results:
        raise SystemExit(f"{runs} holds no results of runs")
    scored = [json.loads(path.read_text()) for path in sorted(runs.glob("rewards-*.json"))]
    questions = sorted({item["group"] for run in results for item in (*run["pairs"], *run["samples"])})
    figures = measures([one["scorer"] for one in scored])
    found = {method: [run for run in results if run["method"] == method] for method in ("base", *METHODS)}
    seeds = {method: sorted(run["seed"] for run in of) for method, of in found.items() if of}

    def cells(method: str, title: str, chosen: Sequence[int]) -> Cells:
        runs = [run for seed in chosen for run in found[method] if run["seed"] == seed]
        given = [{one["scorer"]: one["samples"][f"{method}-{run['seed']}"] for one in scored} for run in runs]
        return of_items([figures[title](*both) for both in zip(runs, given, strict=True)], questions)

    lines = [_facts(results), "", *_table(seeds, list(figures), cells), ""]
    lines += _differences(seeds, list(figures), cells)
    lines += _on_line([run for method in METHODS for run in found[method] if run.get("log")])
    lines += ["", *(_scorer_line(one) for one in scored)]
    return "\n".join(lines)


def _win(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def of_items(values: Sequence[Sequence[tuple[str, float]]], questions: Sequence[str]) -> Cells:
    """From ``(question, value)`` of each item of each run."""
    place = {question: i for i, question in enumerate(questions)}
    sums, counts = np.zeros((len(values), len(questions))), np.zeros((len(values), len(questions)))
    for s, of_run in enumerate(values):
        for question, value in of_run:
            sums[s, place[question]] += value
            counts[s, place[question]] += 1
    return Cells(sums, counts)


def drawn_of(*cells: Cells) -> list[NDArray[np.float64]]:
    """The figures ``[resamples]`` with seeds and questions drawn with replacement, the same for all cells."""
    rng = np.random.default_rng(0)
    seeds, questions = cells[0].sums.shape
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    of_questions = rng.multinomial(questions, np.full(questions, 1 / questions), RESAMPLES)
    weights = (of_seeds[:, :, None] * of_questions[:, None, :]).astype(float)
    return [one.resampled(weights) for one in cells]


def shown(value: float, drawn: NDArray[np.float64], *, signed: bool = False) -> str:
    """A figure with its interval: ``0.642 (0.610 to 0.671)``."""
    low, high = np.nanquantile(drawn, [0.025, 0.975])  # few questions may all be missing from a draw
    sign = "+" if signed else ""
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


CellsOf = Callable[[str, str, Sequence[int]], Cells]
"""Method, title of a figure, seeds → its cells."""
_OF_BASE = ("pairs right", "margin, nats", "pairs right, kept tokens", "chosen, nats")
"""Figures that compare with the base, which says nothing of the base."""


def _table(seeds: Mapping[str, Sequence[int]], titles: Sequence[str], cells: CellsOf) -> list[str]:
    lines = [f"| method | seeds | {' | '.join(titles)} |", f"|---|---|{'---:|' * len(titles)}"]
    for method, own in seeds.items():
        row = []
        for title in titles:
            one = cells(method, title, own)
            row.append("" if method == "base" and title in _OF_BASE else shown(one.value, *drawn_of(one)))
        lines.append(f"| {method} | {', '.join(map(str, own))} | {' | '.join(row)} |")
    return lines


def _differences(seeds: Mapping[str, Sequence[int]], titles: Sequence[str], cells: CellsOf) -> list[str]:
    lines = [f"| difference | seeds | {' | '.join(titles)} |", f"|---|---|{'---:|' * len(titles)}"]
    for one, other in DIFFERENCES:
        common = sorted(set(seeds.get(one, ())) & set(seeds.get(other, ())))
        if common:
            row = []
            for title in titles:
                a, b = cells(one, title, common), cells(other, title, common)
                drawn = np.subtract(*drawn_of(a, b))
                row.append(shown(a.value - b.value, drawn, signed=True))
            lines.append(f"| {one} − {other} | {', '.join(map(str, common))} | {' | '.join(row)} |")
    return lines


def _on_line(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What happened while the on-line methods trained; without masks every token is kept.

    Rewards are those of the answers that were trained on, by the scorer that made the masks.
    """
    if not runs:
        return []
    lines = ["", "| on line | seed | steps | kept | scored | reward, first and last quarter | CPU seconds a step |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|")
    for run in runs:
        log, curve = run["log"], run["curve"]
        quarter = max(1, len(curve) // 4)
        kept = [entry["mask/kept"] for entry in log if "mask/kept" in entry]
        scored = [entry["mask/scored"] for entry in log if "mask/scored" in entry]
        shares = " | ".join(f"{np.mean(values):.2f}" if values else "" for values in (kept, scored))
        ends = f"{np.mean(curve[:quarter]):.3f}, {np.mean(curve[-quarter:]):.3f}"
        seconds = run["cpu_seconds"]["training"] / len(curve)
        lines.append(f"| {run['method']} | {run['seed']} | {len(curve)} | {shares} | {ends} | {seconds:.1f} |")
    return lines


def _facts(results: Sequence[Mapping[str, Any]]) -> str:
    first = results[0]
    prompts = len(first["samples"])
    settings = ", ".join(f"{name} {value}" for name, value in first["settings"].items() if value is not None)
    return (
        f"{first['train_pairs']} training pairs, {len(first['pairs'])} held-out pairs, {prompts} prompts answered, "
        f"{first['device']}. Settings: {settings}. In brackets: 95 % bootstrap intervals over questions and seeds, "
        f"{RESAMPLES} resamples; differences are paired, over the seeds that both methods have."
    )


def _scorer_line(scored: Mapping[str, Any]) -> str:
    pairs = scored["pairs"]
    right = np.mean([_win(pair["chosen"] - pair["rejected"]) for pair in pairs])
    return f"* {scored['scorer']}: mean token reward ranks {right:.3f} of {len(pairs)} held-out pairs as people did."
