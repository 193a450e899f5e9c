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
    }


def report(runs: Path) -> str:
    """Markdown: what was run, the figures, the differences."""
    results = [json.loads(path.read_text()) for path in sorted(runs.glob("*-[0-9]*.json"))]
    if not results:
        raise SystemExit(f"{runs} holds no results of runs")
    scored = [json.loads(path.read_text()) for path in sorted(runs.glob("rewards-*.json"))]
    seeds = sorted({run["seed"] for run in results})
    methods = [name for name in ("base", *METHODS) if any(run["method"] == name for run in results)]
    complete = [name for name in methods if sorted(r["seed"] for r in results if r["method"] == name) == seeds]
    questions = sorted({item["group"] for run in results for item in (*run["pairs"], *run["samples"])})
    figures = measures([one["scorer"] for one in scored])
    given = {
        (run["method"], run["seed"]): {
            one["scorer"]: one["samples"][f"{run['method']}-{run['seed']}"] for one in scored
        }
        for run in results
    }
    cells = {
        (method, title): _cells([r for r in results if r["method"] == method], given, measure, questions)
        for method in complete
        for title, measure in figures.items()
    }
    weights = _weights(len(seeds), len(questions))
    lines = [_facts(results, seeds), "", *_table(complete, list(figures), cells, weights), ""]
    lines += _differences(complete, list(figures), cells, weights)
    lines += ["", *(_scorer_line(one) for one in scored)]
    left = sorted(set(methods) - set(complete))
    if left:
        lines += ["", f"Left out, since not every seed was run: {', '.join(left)}."]
    return "\n".join(lines)


def _win(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _cells(
    runs: Sequence[Mapping[str, Any]],
    given: Mapping[tuple[str, int], Mapping[str, Sequence[float | None]]],
    measure: Measure,
    questions: Sequence[str],
) -> Cells:
    place = {question: i for i, question in enumerate(questions)}
    sums, counts = np.zeros((len(runs), len(questions))), np.zeros((len(runs), len(questions)))
    for s, run in enumerate(sorted(runs, key=lambda run: run["seed"])):
        for question, value in measure(run, given[run["method"], run["seed"]]):
            sums[s, place[question]] += value
            counts[s, place[question]] += 1
    return Cells(sums, counts)


def _weights(seeds: int, questions: int) -> NDArray[np.float64]:
    """How often each seed and each question is drawn, ``[resamples, seeds, questions]``: both with replacement."""
    rng = np.random.default_rng(0)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    of_questions = rng.multinomial(questions, np.full(questions, 1 / questions), RESAMPLES)
    return (of_seeds[:, :, None] * of_questions[:, None, :]).astype(float)


def _shown(value: float, drawn: NDArray[np.float64], *, signed: bool = False) -> str:
    low, high = np.nanquantile(drawn, [0.025, 0.975])  # few questions may all be missing from a draw
    sign = "+" if signed else ""
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _table(
    methods: Sequence[str],
    titles: Sequence[str],
    cells: Mapping[tuple[str, str], Cells],
    weights: NDArray[np.float64],
) -> list[str]:
    lines = [f"| method | {' | '.join(titles)} |", f"|---|{'---:|' * len(titles)}"]
    for method in methods:
        row = []
        for title in titles:
            of_base = method == "base" and title in (
                "pairs right",
                "margin, nats",
                "pairs right, kept tokens",
                "chosen, nats",
            )
            one = cells[method, title]
            row.append("" if of_base else _shown(one.value, one.resampled(weights)))
        lines.append(f"| {method} | {' | '.join(row)} |")
    return lines


def _differences(
    methods: Sequence[str],
    titles: Sequence[str],
    cells: Mapping[tuple[str, str], Cells],
    weights: NDArray[np.float64],
) -> list[str]:
    lines = [f"| difference | {' | '.join(titles)} |", f"|---|{'---:|' * len(titles)}"]
    for one, other in DIFFERENCES:
        if one in methods and other in methods:
            row = []
            for title in titles:
                a, b = cells[one, title], cells[other, title]
                row.append(_shown(a.value - b.value, a.resampled(weights) - b.resampled(weights), signed=True))
            lines.append(f"| {one} − {other} | {' | '.join(row)} |")
    return lines


def _facts(results: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> str:
    first = results[0]
    prompts = len(first["samples"])
    settings = ", ".join(f"{name} {value}" for name, value in first["settings"].items() if value is not None)
    return (
        f"{first['train_pairs']} training pairs, {len(first['pairs'])} held-out pairs, {prompts} prompts answered, "
        f"seeds {', '.join(map(str, seeds))}, {first['device']}. Settings: {settings}. In brackets: 95 % bootstrap "
        f"intervals over questions and seeds, {RESAMPLES} resamples; differences are paired."
    )


def _scorer_line(scored: Mapping[str, Any]) -> str:
    pairs = scored["pairs"]
    right = np.mean([_win(pair["chosen"] - pair["rejected"]) for pair in pairs])
    return f"* {scored['scorer']}: mean token reward ranks {right:.3f} of {len(pairs)} held-out pairs as people did."
