"""Operations and bytes of a token by hand."""

from __future__ import annotations

from benchmarks.roofline import SHAPES, Machine, Shape, Step, steps

TINY = Shape(hidden=4, inner=6, layers=1, heads=2, groups=1, size=2)


def test_a_layer_by_hand() -> None:
    # queries 4 × 4, keys and values 4 × 2 each, output 4 × 4, gates 4 × 6 twice, back 6 × 4
    assert TINY.weights == 16 + 8 + 8 + 16 + 24 + 24 + 24
    found = {step.name: step for step in steps(TINY, batch=10, context=5)}
    assert found["matrix products"].operations == 240
    # q, k, v: 3 × 4 in, 4 + 2 + 2 out; output: 4 in, 4 out; gates: 2 × (4 + 6); back: 6 in, 4 out; 2 bytes each
    assert found["matrix products"].bytes == 2 * (12 + 8 + 8 + 20 + 10) + 2 * 120 / 10
    assert found["attention"].operations == 5 * 4 * 2 * 2
    assert found["gate"].bytes == 60


def test_the_shapes_have_the_weights_they_are_named_after() -> None:
    sizes = {name: shape.layers * shape.weights for name, shape in SHAPES.items()}
    assert sizes == {"SmolLM2-135M": 106_168_320, "8B (Llama 3)": 6_979_321_856}


def test_the_longer_of_both_counts() -> None:
    machine = Machine(operations=100, bytes=10)
    assert machine.seconds(Step("", 200, 5)) == 2
    assert machine.seconds(Step("", 200, 50)) == 5
