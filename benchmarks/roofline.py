"""How fast a decoder could be on a machine: operations and bytes of a token, over what the machine can do of each.

    python -m benchmarks.roofline                             # the machine as it is measured here
    python -m benchmarks.roofline --tflops 989 --gbs 4800     # a data sheet's; an H200's here

Every step of a layer takes at least the longer of its operations over the machine's operations a second, and its bytes
over the machine's bytes a second. Steps are those that transformers runs one after the other, with everything that each
reads and writes in bfloat16 (norms in float32); weights are read once a batch. What a cache keeps from one step to the
next is not taken off, so a small batch can be faster than its bytes say.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks.machine import processor
from benchmarks.rounds import ROUNDS, Spread, interleave

BATCH, CONTEXT = 4096, 160
"""Positions of a batch on a CPU; the tokens that a token of hh-rlhf attends to, on average: about half of its depth."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder with gated products and rotary positions, such as Llama."""

    hidden: int
    inner: int
    layers: int
    heads: int
    groups: int
    size: int

    @property
    def weights(self) -> int:
        """Numbers in one layer's matrices."""
        attention = self.hidden * self.size * (2 * self.heads + 2 * self.groups)
        return attention + 3 * self.hidden * self.inner


SHAPES = {"SmolLM2-135M": Shape(576, 1536, 30, 9, 3, 64), "8B (Llama 3)": Shape(4096, 14336, 32, 32, 8, 128)}


@dataclass(frozen=True, slots=True)
class Step:
    """Operations and bytes of one token in one layer."""

    name: str
    operations: float
    bytes: float


def steps(shape: Shape, batch: int, context: int) -> Iterator[Step]:
    """What transformers computes for a token in one layer, by kind."""
    queries, keys = shape.heads * shape.size, shape.groups * shape.size
    hidden, inner = shape.hidden, shape.inner
    # Inputs and outputs of seven products: three of attention's, its output, two gates, and back.
    moved = 2 * (3 * hidden + queries + 2 * keys + queries + hidden + 2 * (hidden + inner) + inner + hidden)
    yield Step("matrix products", 2 * shape.weights, moved + 2 * shape.weights / batch)
    pairs = 4 * context * queries
    yield Step("attention", pairs, 2 * (2 * queries + 2 * keys))
    # to float32 6, squares 8, mean 4, scaling 8, to bfloat16 6, weight 4
    yield Step("two norms", 2 * 6 * hidden, 2 * 36 * hidden)
    # two products 8, halves swapped and one negated 7, sum 6
    yield Step("rotary positions", 4 * (queries + keys), 21 * (queries + keys))
    yield Step("gate", 6 * inner, (4 + 6) * inner)
    yield Step("two sums", 2 * hidden, 2 * 6 * hidden)


@dataclass(frozen=True, slots=True)
class Machine:
    """Operations and bytes a second."""

    operations: float
    bytes: float

    def seconds(self, step: Step) -> float:
        """The least time of one token's step."""
        return max(step.operations / self.operations, step.bytes / self.bytes)


def measured(rounds: int) -> tuple[Machine, Spread, Spread]:
    """This machine, by a product of SmolLM2's sizes and by a copy that no cache holds: the best of the rounds."""
    rows, inner = torch.randn(BATCH, 576, dtype=torch.bfloat16), torch.randn(576, 1536, dtype=torch.bfloat16)
    block = torch.empty(2**27, dtype=torch.uint8)
    other = torch.empty_like(block)

    def products() -> None:
        for _ in range(20):
            torch.mm(rows, inner)

    products()
    other.copy_(block)
    ran = interleave({"products": products, "copy": lambda: other.copy_(block)}, rounds)
    operations = ran.of(lambda one: 20 * 2 * rows.shape[0] * inner.numel() / one["products"].wall)
    moved = ran.of(lambda one: 2 * block.numel() / one["copy"].wall)
    return Machine(operations.high, moved.high), operations, moved


def report(machine: Machine, batch: int, context: int) -> None:
    """One table a shape."""
    for name, shape in SHAPES.items():
        print(f"\n{name}, {batch:,} positions a batch, {context} tokens attended to\n")
        print("| step, all layers | MFLOP a token | MB a token | FLOP a byte | µs a token at least | bound by |")
        print("|---|---:|---:|---:|---:|---|")
        total = 0.0
        for step in steps(shape, batch, context):
            seconds = shape.layers * machine.seconds(step)
            total += seconds
            bound = "operations" if step.operations / machine.operations > step.bytes / machine.bytes else "bytes"
            print(
                f"| {step.name} | {shape.layers * step.operations / 1e6:.3g} | {shape.layers * step.bytes / 1e6:.3g} "
                f"| {step.operations / step.bytes:.3g} | {1e6 * seconds:.3g} | {bound} |"
            )
        products = shape.layers * 2 * shape.weights / machine.operations
        print(
            f"\nAt most {1 / total:,.0f} tokens/s step by step; {1 / products:,.0f} if products were all there is.",
            flush=True,
        )


def main() -> None:
    """Measure or take what is given, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, help="10¹² bfloat16 operations a second, in place of measuring")
    parser.add_argument("--gbs", type=float, help="10⁹ bytes a second, in place of measuring")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--context", type=int, default=CONTEXT)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    if options.tflops is not None and options.gbs is not None:
        machine = Machine(options.tflops * 1e12, options.gbs * 1e9)
        print(f"Given: {options.tflops:g} TFLOP/s, {options.gbs:g} GB/s.")
    elif options.tflops is None and options.gbs is None:
        machine, operations, moved = measured(options.rounds)
        print(
            f"{processor()}, {torch.get_num_threads()} threads: {operations.times(1e-12):.2f} TFLOP/s in products of "
            f"{BATCH} × 576 × 1536, {moved.times(1e-9):.1f} GB/s; the best of {options.rounds} rounds counts."
        )
    else:
        parser.error("--tflops and --gbs go together")
    report(machine, options.batch, options.context)


if __name__ == "__main__":
    main()
