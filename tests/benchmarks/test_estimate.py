"""The arithmetic against runs that were measured on an H200, and by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.estimate import DEVICES, SHAPES, Data, Device, Shape, estimate, main


def per_token_data(unique: int) -> Data:
    """Rows of hh-rlhf: 300 pairs have 70,051 unique and 112,055 tokens."""
    prompt = (112_055 - 70_051) / 300
    response = (70_051 / 300 - prompt) / 2
    return Data(round(unique / (prompt + 2 * response)), prompt, response)


def test_tokens_of_the_measured_data() -> None:
    data = per_token_data(70_051)
    assert data.pairs == 300
    assert data.unique == pytest.approx(70_051)
    assert data.written_out == pytest.approx(112_055)


@pytest.mark.parametrize(
    ("shape", "device", "unique", "seconds"),
    [
        ("8b", DEVICES["h200"], 70_051, 2.6),
        # 421,133 tokens/s in dense batches and 0.59 of that: a small model leaves more of the device idle.
        ("0.5b", replace(DEVICES["h200"], dense=0.31, tree=0.59), 242_697, 1.0),
        # Two cores: 3,152 tokens/s, all of that; the processor's 0.67 × 10¹² a second are what that speed amounts to.
        ("smollm2-135m", Device(24, 0.67, 1.0, 1.0, 4096), 94_013, 29.9),
    ],
)
def test_measured_runs(shape: str, device: Device, unique: int, seconds: float) -> None:
    found = estimate(SHAPES[shape], device, per_token_data(unique))
    assert found.hours * 3600 == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize(
    ("shape", "billions"), [("0.5b", 0.494), ("7b", 7.07), ("8b", 7.50), ("70b", 69.5), ("smollm2-135m", 0.1345)]
)
def test_parameters_are_those_of_the_models(shape: str, billions: float) -> None:
    """Without output embedding and heads, which a reward model does not have or which are small."""
    assert SHAPES[shape].parameters / 1e9 == pytest.approx(billions, rel=0.005)


def test_memory_that_was_measured() -> None:
    """``benchmarks.large_model`` at 7b: 13.19 GiB with a head of 12.9 million numbers, 13.85 GiB at the peak."""
    found = estimate(SHAPES["7b"], DEVICES["h200"], Data(8, 30, 20))
    assert found.weights / 1.073741824 == pytest.approx(13.19, rel=0.01)
    assert found.memory - found.weights < 7  # the batch is the largest of a GPU


def test_by_hand() -> None:
    shape = Shape(layers=2, hidden=8, heads=2, head_size=4, key_heads=1, inner=16, vocabulary=10)
    assert shape.weights == 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16)
    assert shape.parameters == shape.weights + 80
    device = Device(memory=1, peak=1e-9, dense=0.5, tree=0.5, positions=0)  # 250 operations a second
    data = Data(pairs=10, prompt=4, response=3)  # 100 tokens, of 140; on average 3.5 are attended to
    found = estimate(shape, device, data)
    assert data.unique == 100
    assert data.written_out == 140
    assert found.hours * 3600 == pytest.approx(100 * (2 * 1152 + 4 * 2 * 2 * 4 * 3.5) / 250)
    assert found.attention == pytest.approx(224 / (2304 + 224))
    assert not found.fits  # 1 GiB is more than 1 GB
    assert estimate(shape, replace(device, memory=2), data).fits


def test_more_devices() -> None:
    data = Data(1000, 200, 300)
    one, shared, spread = (
        estimate(SHAPES["70b"], DEVICES["h100"], data, devices=n, spread=s)
        for n, s in ((1, False), (4, False), (4, True))
    )
    assert not one.fits
    assert shared.hours == pytest.approx(one.hours / 4)
    assert shared.device_hours == pytest.approx(one.device_hours)
    assert spread.hours == pytest.approx(one.hours)
    assert spread.device_hours == pytest.approx(4 * one.hours)
    assert spread.fits
    assert estimate(SHAPES["70b"], DEVICES["h100"], data, bytes_of_a_weight=0.56).fits


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["estimate", "--shape", "70b", "--device", "h100"])
    main()
    assert "(too large)" in capsys.readouterr().out
