"""The figures, as SVG that is the same in every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asr_data.statistics.bootstrap import Estimate
from examples.paper.experiment import SEGMENTERS, Scored, variances

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito: told apart by the colour-blind."""

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "asr-data", "svg.fonttype": "path", "font.size": 10, "axes.axisbelow": True})


def pairs_right(scored: Sequence[Scored], path: Path) -> None:
    """Figure 2: pairs right by the whole response and by its steps."""
    ways = {"outcome": "whole response", "mean_step": "mean over steps", "last_step": "last step"}
    figure, axes = plt.subplots(figsize=(12, 4.5), layout="constrained")
    for place, (way, title) in enumerate(ways.items()):
        estimates = [one.judging.estimate(one.by_name["own"].measures[f"pairs_{way}"]) for one in scored]
        _bars(axes, np.arange(len(scored)) + (place - 1) * 0.26, estimates, COLOURS[place], title)
    axes.axhline(0.5, color="#555555", linestyle=":", linewidth=1)
    axes.set(ylabel="pairs right", ylim=(0, 1), xticks=range(len(scored)))
    axes.set_xticklabels([_in_lines(one) for one in scored])
    _finish(axes, columns=3)
    _save(figure, path)


def reward_variances(scored: Sequence[Scored], path: Path) -> None:
    """Figure 3: variance of the rewards of tokens, steps, segments and responses."""
    figure, axes = plt.subplots(figsize=(12, 4.5), layout="constrained")
    found = [variances(one) for one in scored]
    units = list(found[0])
    for place, unit in enumerate(units):
        at = np.arange(len(scored)) + (place - (len(units) - 1) / 2) * 0.16
        # The scorers' scales differ: each is measured in the variance of its own token rewards.
        axes.bar(at, [each[unit] / each["token"] for each in found], 0.14, color=COLOURS[place], label=unit)
    axes.set(ylabel="variance, in that of the token rewards", xticks=range(len(scored)))
    axes.set_xticklabels([_in_lines(one) for one in scored])
    _finish(axes, columns=3)
    _save(figure, path)


def faults_found(scored: Sequence[Scored], path: Path) -> None:
    """AUROC of segment rewards within a response, by segmenter."""
    figure, axes = plt.subplots(figsize=(9, 8), layout="constrained")
    names = [name for name in SEGMENTERS if name != "sequence"]
    for place, one in enumerate(scored):
        estimates = [one.judging.estimate(one.by_name[name].measures["segment_auroc"]) for name in names]
        at = np.arange(len(names))[::-1] - (place - (len(scored) - 1) / 2) * 0.14
        low, high = _arms(estimates)
        values = [e.value or 0.0 for e in estimates]
        label = f"{one.data.title}, {one.side}"
        axes.errorbar(values, at, xerr=[low, high], fmt="o", markersize=4, color=COLOURS[place], label=label)
    axes.axvline(0.5, color="#555555", linestyle=":", linewidth=1)
    axes.set(xlabel="AUROC of segment rewards within a response", yticks=np.arange(len(names))[::-1])
    axes.set_yticklabels(names)
    _finish(axes, columns=2)
    _save(figure, path)


def _bars(axes: Axes, at: np.ndarray, estimates: Sequence[Estimate], colour: str, label: str) -> None:
    axes.bar(
        at,
        [e.value or 0.0 for e in estimates],
        0.24,
        yerr=_arms(estimates),
        color=colour,
        label=label,
        capsize=3,
        error_kw={"linewidth": 1},
    )


def _arms(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of the error bars, below and above."""
    value = [e.value or 0.0 for e in estimates]
    low = [v - (v if e.low is None else e.low) for v, e in zip(value, estimates, strict=True)]
    high = [(v if e.high is None else e.high) - v for v, e in zip(value, estimates, strict=True)]
    return [[max(x, 0.0) for x in low], [max(x, 0.0) for x in high]]


def _in_lines(one: Scored) -> str:
    return one.data.title.replace(", ", "\n", 1) + f"\n{one.scorer}"


def _finish(axes: Axes, columns: int) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#dddddd", linewidth=0.5)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)
