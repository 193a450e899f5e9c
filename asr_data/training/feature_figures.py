"""Held-out figures of a head with features, each beside position and the words that the other answer shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import Polynomial

from asr_data.scoring.feature_config import FeatureConfig
from asr_data.scoring.feature_head import FeatureHead
from asr_data.statistics.bootstrap import GroupBootstrap, Measure
from asr_data.statistics.ranking import auroc
from asr_data.training.feature_fit import scores_of
from asr_data.training.feature_tables import Read
from asr_data.training.figures import pairs_right
from asr_data.training.report import Figure
from asr_data.types import Float64

DEGREE = 4
"""Of the polynomial of relative position that is taken out of scores, over all responses of a figure."""
Scores = Callable[[Read], Float64]


def feature_figures(reads: Sequence[Read], head: FeatureHead, features: FeatureConfig, seed: int) -> list[Figure]:
    """Figures for each source and side.

    Of labelled responses, the mean AUROC within a response: of sentences (a sentence's score is the mean of its
    tokens', and it is faulty where a token is) with the partner in view, after position is regressed out, by the words
    shared with the other answer alone (a control) and without the partner; then of tokens. ``length_baseline`` calls
    later sentences, or tokens, worse. Of pairs: how many have the higher mean on the right side.
    """
    figures: list[Figure] = []
    for source in sorted({read.asked.source for read in reads}):
        chosen = [read for read in reads if read.asked.source == source]
        if chosen[0].asked.goal == "pair":
            figures.append(_pairs(source, chosen, head, features, seed))
        elif chosen[0].asked.goal == "labels":
            for side in sorted({read.asked.side for read in chosen}):
                of_side = [read for read in chosen if read.asked.side == side]
                figures += _labelled(f"{source}, {side}", of_side, head, features, seed)
    return figures


def _pairs(source: str, reads: Sequence[Read], head: FeatureHead, features: FeatureConfig, seed: int) -> Figure:
    means = [[scores_of(head, features, read, at, partner=False).mean() for at in (0, 1)] for read in reads]
    lengths = [[len(table.own) for table in read.tables] for read in reads]
    groups = [read.group for read in reads]
    return pairs_right(f"{source}: right without a partner", means, lengths, groups, seed)


def _labelled(name: str, reads: Sequence[Read], head: FeatureHead, features: FeatureConfig, seed: int) -> list[Figure]:
    with_partner = [scores_of(head, features, read, 0, partner=True) for read in reads]
    alone = [scores_of(head, features, read, 0, partner=False) for read in reads]
    rows = [
        ("sentences", with_partner, True),
        ("sentences, position regressed out", _detrended(with_partner), True),
        ("sentences, without a partner", alone, True),
        ("tokens", with_partner, False),
    ]
    shared = [_shared(read, features) for read in reads]
    if all(one is not None for one in shared):
        rows.insert(1, ("sentences, by shared words alone", [one for one in shared if one is not None], True))
    figures = []
    for what, scores, sentences in rows:
        figure = _area(f"{name}: {what}", reads, scores, seed, sentences=sentences)
        figures += [] if figure is None else [figure]
    return figures


def _area(name: str, reads: Sequence[Read], scores: Sequence[Float64], seed: int, *, sentences: bool) -> Figure | None:
    areas, by_position, groups = [], [], []
    for read, score in zip(reads, scores, strict=True):
        values, bad = _units(read, score, sentences=sentences)
        area = auroc(-values, bad)
        position = auroc(np.arange(len(values)), bad)
        if area is not None and position is not None:
            areas.append(area)
            by_position.append(position)
            groups.append(read.group)
    if not areas:
        return None
    found = GroupBootstrap(groups, seed=seed).estimate(Measure.mean_of(areas))
    return Figure(
        name=name,
        value=float(np.mean(areas)),
        low=found.low,
        high=found.high,
        chance=0.5,
        length_baseline=float(np.mean(by_position)),
        items=len(areas),
        groups=len(set(groups)),
    )


def _units(read: Read, score: Float64, *, sentences: bool) -> tuple[Float64, np.ndarray]:
    """Scores and faults of the known tokens, or of their sentences."""
    known = read.known
    bad = read.asked.target[known] <= 0.5
    if not sentences:
        return score[known], bad
    _, unit = np.unique(read.asked.sentence[known], return_inverse=True)
    count = np.bincount(unit)
    return np.bincount(unit, score[known]) / count, np.bincount(unit, bad) > 0


def _detrended(scores: Sequence[Float64]) -> list[Float64]:
    """Scores less what a polynomial of the relative position says of them."""
    place = [(np.arange(len(one)) + 0.5) / len(one) for one in scores]
    trend = Polynomial.fit(np.concatenate(place), np.concatenate(scores), DEGREE)
    return [one - trend(at) for one, at in zip(scores, place, strict=True)]


def _shared(read: Read, features: FeatureConfig) -> Float64 | None:
    partner = read.tables[0].partner
    if partner is None or not features.words:
        return None
    return partner[:, features.partner_columns().index("shared")].astype(np.float64)
