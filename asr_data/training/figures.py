"""Held-out figures: pairs and verdicts right, and AUROC of token values within a response."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from asr_data.statistics.bootstrap import Estimate, GroupBootstrap, Measure
from asr_data.statistics.ranking import auroc, pair_wins
from asr_data.training.encode import Unit
from asr_data.training.report import Figure
from asr_data.types import Float32


def figures_of(units: Sequence[Unit], values: Sequence[Sequence[Float32]], seed: int) -> list[Figure]:
    """One figure for each kind of held-out data, with 95 % intervals that resample prompts.

    The length baseline prefers the shorter response of a pair, or the longer where that is right more often
    (which flatters the baseline), and calls later tokens of a response worse.
    """
    figures = []
    for source in sorted({unit.source for unit in units}):
        chosen = [(u, v) for u, v in zip(units, values, strict=True) if u.source == source]
        match chosen[0][0].goal:
            case "pair":
                figures.append(_pairs_right(source, chosen, seed))
            case "verdict":
                figures.append(_verdicts_right(source, [(u, v[0]) for u, v in chosen], seed))
            case "labels":
                figures += _token_auroc(source, [(u, v[0]) for u, v in chosen], seed)
    return figures


def _pairs_right(source: str, pairs: Sequence[tuple[Unit, Sequence[Float32]]], seed: int) -> Figure:
    means = [[v.mean() for v in values] for _, values in pairs]
    lengths = [[len(v) for v in values] for _, values in pairs]
    return pairs_right(f"{source}: pairs right", means, lengths, [unit.group for unit, _ in pairs], seed)


def pairs_right(name: str, means: ArrayLike, lengths: ArrayLike, groups: Sequence[str], seed: int) -> Figure:
    """How many of P pairs have the higher mean on the side that is preferred, beside length.

    Args:
        name: of the figure.
        means: float ``[P, 2]``, the mean value of the preferred response and of the other.
        lengths: float ``[P, 2]``, their numbers of values.
        groups: the question of each pair, ``[P]``; what intervals resample.
        seed: of the bootstrap.
    """
    wins = pair_wins(*np.asarray(means).T)
    found = _mean(wins, groups, seed)
    shorter = float(pair_wins(*-np.asarray(lengths, dtype=float).T).mean())
    return Figure(
        name=name,
        value=float(wins.mean()),
        low=found.low,
        high=found.high,
        chance=0.5,
        length_baseline=max(shorter, 1 - shorter),
        items=len(groups),
        groups=len(set(groups)),
    )


def _verdicts_right(source: str, responses: Sequence[tuple[Unit, Float32]], seed: int) -> Figure:
    """Chance is the larger share of the two verdicts: what is right without looking."""
    good = np.array([unit.preferred for unit, _ in responses])
    right = np.array([v.mean() > 0 for _, v in responses]) == good
    groups = [unit.group for unit, _ in responses]
    found = _mean(right, groups, seed)
    return Figure(
        name=f"{source}: verdicts right",
        value=float(right.mean()),
        low=found.low,
        high=found.high,
        chance=float(max(good.mean(), 1 - good.mean())),
        length_baseline=None,
        items=len(responses),
        groups=len(set(groups)),
    )


def _token_auroc(source: str, responses: Sequence[tuple[Unit, Float32]], seed: int) -> list[Figure]:
    scores, by_position, groups = [], [], []
    for unit, value in responses:
        target = unit.sequences[0].target
        known = ~np.isnan(target)
        faulty = target[known] <= 0.5
        score = auroc(-value[known], faulty)
        position = auroc(np.arange(len(value))[known], faulty)
        if score is not None and position is not None:
            scores.append(score)
            by_position.append(position)
            groups.append(unit.group)
    if not scores:
        return []
    found = _mean(scores, groups, seed)
    return [
        Figure(
            name=f"{source}: mean AUROC of token values within a response",
            value=float(np.mean(scores)),
            low=found.low,
            high=found.high,
            chance=0.5,
            length_baseline=float(np.mean(by_position)),
            items=len(scores),
            groups=len(set(groups)),
        )
    ]


def _mean(values: ArrayLike, groups: Sequence[str], seed: int) -> Estimate:
    return GroupBootstrap(groups, seed=seed).estimate(Measure.mean_of(values))
