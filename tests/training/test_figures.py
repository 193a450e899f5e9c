from __future__ import annotations

import numpy as np
import pytest

from asr_data.training.encode import Encoded, Unit
from asr_data.training.figures import figures_of
from asr_data.types import Float32

NAN = float("nan")


def pair(group: str, chosen: list[float], rejected: list[float]) -> tuple[Unit, list[Float32]]:
    unknown = [Encoded([0] * len(v), 0, np.full(len(v), NAN, dtype=np.float32)) for v in (chosen, rejected)]
    return Unit(group, "demo pairs", "pair", tuple(unknown)), [
        np.array(v, dtype=np.float32) for v in (chosen, rejected)
    ]


def response(group: str, target: list[float], value: list[float]) -> tuple[Unit, list[Float32]]:
    encoded = Encoded([0] * len(target), 0, np.array(target, dtype=np.float32))
    return Unit(group, "spans", "labels", (encoded,)), [np.array(value, dtype=np.float32)]


def test_pairs_by_hand() -> None:
    cases = [
        pair("a", [2.0, 0.0], [0.5]),  # mean 1 against 0.5: right; the chosen one is longer
        pair("a", [0.0], [1.0, 1.0]),  # wrong; shorter
        pair("b", [1.0], [1.0]),  # a tie, also in length
        pair("c", [3.0, 3.0, 3.0], [1.0]),  # right; longer
    ]
    (figure,) = figures_of(*zip(*cases, strict=True), seed=1)
    assert figure.name == "demo pairs: pairs right"
    assert figure.value == 2.5 / 4
    assert figure.chance == 0.5
    assert figure.length_baseline == 1 - 1.5 / 4  # longer is right more often here
    assert (figure.items, figure.groups) == (4, 3)
    assert figure.low is not None
    assert figure.high is not None
    # Draws of groups: a has mean 0.5, b 0.5, c 1; a sample's mean lies between 0.5 and 1.
    assert 0.5 <= figure.low <= figure.value <= figure.high <= 1.0


def test_auroc_by_hand() -> None:
    cases = [
        # Faulty -1 and 2 against sound 1 and 3; lower are (-1,1), (-1,3), (2,3): 3 of 4.
        # By position: the faulty 0 and 2 come later than the sound 1 and 4 in one of four.
        response("a", [0.0, 1.0, 0.0, NAN, 1.0], [-1.0, 1.0, 2.0, 9.0, 3.0]),
        # All equal: a half; the faulty one comes last: 1.
        response("b", [1.0, 0.0], [5.0, 5.0]),
        response("c", [1.0, 1.0], [5.0, 6.0]),  # nothing faulty: left out
    ]
    (figure,) = figures_of(*zip(*cases, strict=True), seed=1)
    assert figure.name == "spans: mean AUROC of token values within a response"
    assert figure.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert figure.length_baseline == pytest.approx((1 / 4 + 1) / 2)
    assert (figure.items, figure.groups) == (2, 2)


def test_one_figure_for_each_source_in_order() -> None:
    cases = [response("a", [0.0, 1.0], [0.0, 1.0]), pair("a", [1.0], [0.0])]
    names = [figure.name.split(":")[0] for figure in figures_of(*zip(*cases, strict=True), seed=1)]
    assert names == ["demo pairs", "spans"]


def test_nothing_to_measure() -> None:
    assert figures_of([], [], seed=1) == []
    unit, value = response("c", [1.0], [5.0])
    assert figures_of([unit], [value], seed=1) == []


def test_verdicts_by_hand() -> None:
    def verdict(group: str, preferred: bool, *value: float) -> tuple[Unit, list[Float32]]:
        unit, values = response(group, [NAN] * len(value), list(value))
        return Unit(group, "kto verdicts", "verdict", unit.sequences, preferred), values

    cases = [
        verdict("a", True, 1.0, -0.5),  # mean 0.25: right
        verdict("a", True, -1.0),  # wrong
        verdict("b", True, 0.5),  # right
        verdict("c", False, 1.0, -2.0),  # right
    ]
    (figure,) = figures_of(*zip(*cases, strict=True), seed=1)
    assert figure.name == "kto verdicts: verdicts right"
    assert (figure.value, figure.chance, figure.items, figure.groups) == (0.75, 0.75, 4, 3)
