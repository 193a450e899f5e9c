"""Speed of the segmenters on one core, beside ruptures: ``python -m benchmarks.segments``.

Signals are levels of 25 tokens plus noise of standard deviation 1. Every method runs once a round, after
one run that compiles (:mod:`benchmarks.rounds`); ruptures' are of the same signals, the slow one of the first few.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import ruptures

from asr_data.segments import Optimal, Pivot, Schmitt, Segmenter, SplitContext, split
from asr_data.types import Float32, Int64
from benchmarks.machine import processor
from benchmarks.rounds import ROUNDS, Method, Rounds, Sample, interleave

SEGMENT_LENGTH = 25
KERNEL, PELT = "ruptures KernelCPD(linear)", "ruptures Pelt(l2)"


def signals(responses: int, length: int, jump: float) -> tuple[Float32, Int64]:
    """Return values float32 ``[responses · length]`` and offsets; levels spread by ``jump``, noise by 1."""
    rng = np.random.default_rng(0)
    levels = rng.normal(0, jump, (responses, length // SEGMENT_LENGTH))
    values = np.repeat(levels, SEGMENT_LENGTH, axis=1) + rng.normal(0, 1, (responses, length))
    return values.astype(np.float32).ravel(), np.arange(responses + 1, dtype=np.int64) * length


@dataclass(frozen=True, slots=True)
class Timed:
    """A method, the tokens that one run of it reads, and whether its ratios compare what solves the same problem."""

    run: Method
    tokens: int
    compared: bool


def ours(values: Float32, offsets: Int64) -> dict[str, Timed]:
    """Our segmenters."""
    cases: list[tuple[str, Segmenter, SplitContext]] = [
        ("optimal, BIC, σ given", Optimal(penalty="bic"), SplitContext(sigma=1.0)),
        ("optimal, BIC, σ estimated in the same call", Optimal(penalty="bic"), SplitContext()),
        ("schmitt, δ given", Schmitt(delta=1.0), SplitContext()),
        ("schmitt, δ estimated in the same call", Schmitt(), SplitContext()),
        ("pivot, τ given", Pivot(tau=4.0), SplitContext()),
        ("pivot, τ estimated in the same call", Pivot(), SplitContext()),
    ]
    return {
        name: Timed(partial(split, values, offsets, segmenter, context), values.size, isinstance(segmenter, Optimal))
        for name, segmenter, context in cases
    }


def peers(values: Float32, offsets: Int64, penalty: float) -> dict[str, Timed]:
    """ruptures' exact methods on the first responses."""
    rows = [part.astype(np.float64)[:, None] for part in np.split(values, offsets[1:-1])]

    def kernel() -> None:
        for row in rows[:100]:
            ruptures.KernelCPD(kernel="linear", min_size=1).fit(row).predict(pen=penalty)

    def pelt() -> None:
        for row in rows[:2]:
            ruptures.Pelt(model="l2", min_size=1, jump=1).fit(row).predict(pen=penalty)

    return {
        KERNEL: Timed(kernel, sum(row.size for row in rows[:100]), True),
        PELT: Timed(pelt, sum(row.size for row in rows[:2]), True),
    }


def rate(name: str, tokens: int, kind: str, one: Mapping[str, Sample]) -> float:
    """Million tokens a second in one round."""
    return tokens / float(getattr(one[name], kind)) / 1e6


def relative(measured: Rounds, methods: Mapping[str, Timed], name: str, base: str) -> str:
    """Tokens a second over those of another method."""
    share = methods[name].tokens / methods[base].tokens
    return f"{measured.ratio(base, name).times(share):,.1f}"


def report(methods: dict[str, Timed], rounds: int) -> None:
    """The table."""
    for one in methods.values():
        one.run()  # compiles
    measured = interleave({name: one.run for name, one in methods.items()}, rounds)
    print("| method | M tokens/s | CPU: M tokens a second | × KernelCPD | × Pelt | tokens per segment found |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, one in methods.items():
        tokens = one.tokens
        times = partial(relative, measured, methods, name)
        wall, cpu = (measured.of(partial(rate, name, tokens, kind)) for kind in ("wall", "cpu"))
        ratios = [times(KERNEL), times(PELT)] if one.compared else ["", ""]
        answer = measured.answer(name)
        found = "" if answer is None else f"{tokens / answer.size:.1f}"
        print(f"| {name} | {wall:.3g} | {cpu:.3g} | {' | '.join(ratios)} | {found} |")


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=2000)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--jump", type=float, default=3.0, help="spread of the levels, in noise units")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # one core, also for what libraries start
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    values, offsets = signals(arguments.responses, arguments.length, arguments.jump)
    penalty = 2 * float(np.log(arguments.length))  # BIC at σ = 1, for all three exact methods
    packages = ("numpy", "numba", "ruptures")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{processor()}, one core; Python {sys.version.split()[0]}, {versions}; {today}.")
    print(
        f"{arguments.responses} responses of {arguments.length} tokens, levels of {SEGMENT_LENGTH} tokens "
        f"spread by {arguments.jump:g} σ; {arguments.rounds} rounds.\n"
    )
    report({**ours(values, offsets), **peers(values, offsets, penalty)}, arguments.rounds)


if __name__ == "__main__":
    main()
