"""Speed of the segmenters on one core, beside ruptures: ``python -m benchmarks.segments``.

Signals are levels of 25 tokens plus noise of standard deviation 1. Every figure is the best of a few runs,
after one that compiles; ruptures' are of the same signals, the slow one of the first few.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable

import numpy as np
import ruptures

from asr_data.segments import Optimal, Pivot, Schmitt, Segmenter, SplitContext, split
from asr_data.types import Float32, Int64
from benchmarks.machine import processor

SEGMENT_LENGTH = 25


def signals(responses: int, length: int, jump: float) -> tuple[Float32, Int64]:
    """Return values float32 ``[responses · length]`` and offsets; levels spread by ``jump``, noise by 1."""
    rng = np.random.default_rng(0)
    levels = rng.normal(0, jump, (responses, length // SEGMENT_LENGTH))
    values = np.repeat(levels, SEGMENT_LENGTH, axis=1) + rng.normal(0, 1, (responses, length))
    return values.astype(np.float32).ravel(), np.arange(responses + 1, dtype=np.int64) * length


def best_seconds(action: Callable[[], object], repeats: int) -> float:
    """Return the least wall time of ``repeats`` runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)


def tokens_per_second(
    values: Float32, offsets: Int64, segmenter: Segmenter, context: SplitContext, repeats: int
) -> tuple[float, float]:
    """Return tokens per second of ``split`` and the mean segment length it found."""
    found = split(values, offsets, segmenter, context)
    seconds = best_seconds(lambda: split(values, offsets, segmenter, context), repeats)
    return values.size / seconds, values.size / found.size


def ruptures_tokens_per_second(
    values: Float32, offsets: Int64, responses: int, penalty: float, *, kernel: bool
) -> float:
    """Return tokens per second of ruptures' KernelCPD, or of its Pelt, on the first responses."""
    rows = [values[offsets[row] : offsets[row + 1]].astype(np.float64)[:, None] for row in range(responses)]

    def run() -> None:
        for row in rows:
            if kernel:
                ruptures.KernelCPD(kernel="linear", min_size=1).fit(row).predict(pen=penalty)
            else:
                ruptures.Pelt(model="l2", min_size=1, jump=1).fit(row).predict(pen=penalty)

    return sum(row.size for row in rows) / best_seconds(run, 1)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=2000)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--jump", type=float, default=3.0, help="spread of the levels, in noise units")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # one core, also for what libraries start
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    values, offsets = signals(arguments.responses, arguments.length, arguments.jump)
    penalty = 2 * float(np.log(arguments.length))  # BIC at σ = 1, for all three exact methods
    kernel = ruptures_tokens_per_second(values, offsets, min(100, arguments.responses), penalty, kernel=True)
    pelt = ruptures_tokens_per_second(values, offsets, min(2, arguments.responses), penalty, kernel=False)
    cases: list[tuple[str, Segmenter, SplitContext]] = [
        ("optimal, BIC, σ given", Optimal(penalty="bic"), SplitContext(sigma=1.0)),
        ("optimal, BIC, σ estimated in the same call", Optimal(penalty="bic"), SplitContext()),
        ("schmitt, δ given", Schmitt(delta=1.0), SplitContext()),
        ("schmitt, δ estimated in the same call", Schmitt(), SplitContext()),
        ("pivot, τ given", Pivot(tau=4.0), SplitContext()),
        ("pivot, τ estimated in the same call", Pivot(), SplitContext()),
    ]
    packages = ("numpy", "numba", "ruptures")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{processor()}, one core; Python {sys.version.split()[0]}, {versions}; {today}.")
    print(
        f"{arguments.responses} responses of {arguments.length} tokens, levels of {SEGMENT_LENGTH} tokens "
        f"spread by {arguments.jump:g} σ.\n"
    )
    print("| method | M tokens/s | × KernelCPD | × Pelt | tokens per segment found |")
    print("|---|---:|---:|---:|---:|")
    for name, segmenter, context in cases:
        rate, found = tokens_per_second(values, offsets, segmenter, context, arguments.repeats)
        # The ratios compare what solves the same problem.
        ratios = f"{rate / kernel:.1f} | {rate / pelt:,.0f}" if isinstance(segmenter, Optimal) else "|"
        print(f"| {name} | {rate / 1e6:.1f} | {ratios} | {found:.1f} |")
    print(f"| ruptures KernelCPD(linear) | {kernel / 1e6:.3f} | 1 | {kernel / pelt:,.0f} | |")
    print(f"| ruptures Pelt(l2) | {pelt / 1e6:.5f} | | 1 | |")


if __name__ == "__main__":
    main()
