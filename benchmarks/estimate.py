"""What scoring a data set will take: memory per device, disk and GPU hours, from sizes and measured ratios.

    python -m benchmarks.estimate [--shape 7b] [--device h200] [--pairs 1000000] [--prompt 200] [--response 300]
        [--devices 1] [--spread] [--bytes-of-a-weight 2]

Time: a decoder costs 2 operations a weight for each token that is computed, and 4 × heads × head size for each token
that it attends to. A device reaches a share of its peak on dense batches, and token trees a share of that; both are of
single runs of an 8B model on one H200, with an engine that padded trees. Prompts are computed once for both responses.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder.

    Attributes:
        layers, hidden, heads, head_size: of its attention.
        key_heads: key and value heads.
        inner: width of the gated feed-forward part.
        vocabulary: tokens with an input embedding; an output embedding counts where log-probabilities are read.
    """

    layers: int
    hidden: int
    heads: int
    head_size: int
    key_heads: int
    inner: int
    vocabulary: int

    @property
    def weights(self) -> int:
        """Numbers in the layers' matrices: what a token is multiplied with."""
        attention = 2 * self.hidden * self.head_size * (self.heads + self.key_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def parameters(self) -> int:
        """Numbers of the decoder."""
        return self.weights + self.vocabulary * self.hidden


@dataclass(frozen=True, slots=True)
class Device:
    """What one device does.

    Attributes:
        memory: GB.
        peak: operations a second in bfloat16, in units of 10¹².
        dense: share of ``peak`` that dense batches reach.
        tree: share of dense batches' speed that unique tokens of a data set reach.
        positions: in a batch.
    """

    memory: float
    peak: float
    dense: float
    tree: float
    positions: int = 16_384


@dataclass(frozen=True, slots=True)
class Data:
    """Means over a data set, in the reward model's tokens."""

    pairs: int
    prompt: float
    response: float

    @property
    def unique(self) -> float:
        """Tokens to compute where prompts are shared."""
        return self.pairs * (self.prompt + 2 * self.response)

    @property
    def written_out(self) -> float:
        """Tokens to compute where they are not."""
        return self.pairs * 2 * (self.prompt + self.response)


SHAPES: Final = {
    "0.5b": Shape(24, 896, 14, 64, 2, 4864, 151_936),
    "7b": Shape(28, 3584, 28, 128, 4, 18_944, 152_064),
    "8b": Shape(32, 4096, 32, 128, 8, 14_336, 128_256),
    "70b": Shape(80, 8192, 64, 128, 8, 28_672, 128_256),
    "smollm2-135m": Shape(30, 576, 9, 64, 3, 1536, 49_152),
}
DEVICES: Final = {
    # 8B: 36,719 tokens/s in dense batches, 0.73 of that; the others' shares of their peak are taken to be the same.
    "h200": Device(141, 989, 0.52, 0.73),
    "h100": Device(80, 989, 0.52, 0.73),
    "a100": Device(80, 312, 0.52, 0.73),
}
_BYTES_OF_A_TOKEN: Final = 1.7
"""On disk, of masks, segments and rewards together: 83 MB for 50 million policy tokens."""
_RESERVE_GB: Final = 1.07


@dataclass(frozen=True, slots=True)
class Estimate:
    """Figures of a run.

    Attributes:
        weights: GB of all weights.
        memory: GB on each device: its share of the weights, a batch, and 1 GiB.
        fits: whether that is less than the device has.
        hours: by the clock.
        device_hours: of all devices together.
        disk: GB of masks, segments and rewards; token ids and the input's text are not counted.
        attention: share of the operations.
        load: seconds to read the weights at 2 GB/s.
    """

    weights: float
    memory: float
    fits: bool
    hours: float
    device_hours: float
    disk: float
    attention: float
    load: float


def estimate(
    shape: Shape, device: Device, data: Data, *, devices: int = 1, spread: bool = False, bytes_of_a_weight: float = 2.0
) -> Estimate:
    """Figures for a data set.

    Args:
        shape: of the decoder.
        device: one of them.
        data: what is scored.
        devices: how many there are.
        spread: one model over all devices (``--device-map``), whose layers run one after the other; else a model on
            each, and shards shared among them.
        bytes_of_a_weight: 2 in bfloat16, 1 in 8 bits, 0.56 in 4 bits with scales.
    """
    length = data.prompt + data.response
    dense = 2.0 * shape.weights
    attention = 4.0 * shape.layers * shape.heads * shape.head_size * length / 2
    seconds = data.unique * (dense + attention) / (device.peak * 1e12 * device.dense * device.tree)
    weights = (shape.weights * bytes_of_a_weight + 2.0 * shape.vocabulary * shape.hidden) / 1e9
    batch = device.positions * 2 * (8 * shape.hidden + 3 * shape.inner) * 2 / 1e9
    memory = weights / (devices if spread else 1) + batch + _RESERVE_GB
    hours = seconds / 3600 / (1 if spread else devices)
    return Estimate(
        weights=weights,
        memory=memory,
        fits=memory < device.memory,
        hours=hours,
        device_hours=hours * devices,
        disk=data.pairs * 2 * data.response * _BYTES_OF_A_TOKEN / 1e9,
        attention=attention / (dense + attention),
        load=weights / 2,
    )


def row(name: str, found: Estimate) -> str:
    """A line of the table."""
    fits = "" if found.fits else " (too large)"
    return (
        f"| {name} | {found.weights:.0f} | {found.memory:.0f}{fits} | {found.hours:,.1f} | {found.device_hours:,.1f} "
        f"| {found.disk:.1f} | {found.load:.0f} |"
    )


def main() -> None:
    """Print the figures of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", choices=DEVICES, default="h200")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--prompt", type=float, default=200)
    parser.add_argument("--response", type=float, default=300)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--spread", action="store_true", help="one model over all devices")
    parser.add_argument("--bytes-of-a-weight", type=float, default=2.0)
    options = parser.parse_args()
    data = Data(options.pairs, options.prompt, options.response)
    found = estimate(
        SHAPES[options.shape],
        DEVICES[options.device],
        data,
        devices=options.devices,
        spread=options.spread,
        bytes_of_a_weight=options.bytes_of_a_weight,
    )
    print("| model | weights, GB | GB a device | hours | device hours | disk, GB | seconds to load |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    print(row(options.shape, found))
    print(f"\nTokens: {data.unique:,.0f} of {data.written_out:,.0f} written out; attention {found.attention:.1%}")


if __name__ == "__main__":
    main()
