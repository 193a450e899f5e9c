"""What comes out of a scored data set, segmenter by segmenter, as markdown.

    asr-annotate run INPUT -o scored
    python -m benchmarks.real_data scored

Masks are redone from the stored scores at each segmenter's defaults; nothing is scored again. Errors are paper eq.
12–14 in units of the reward squared, per token.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from asr_data.config import (
    MaskConfig,
    Optimal,
    Pivot,
    Schmitt,
    SegmenterConfig,
    Sequence,
    Step,
    Token,
)
from asr_data.pipeline import mask
from asr_data.segments.approximation import ApproximationErrors, approximation_errors
from asr_data.storage import open_output

SEGMENTERS: dict[str, SegmenterConfig] = {
    "token": Token(),
    "pivot, τ = 3 robust sd": Pivot(),
    "schmitt, δ = σ": Schmitt(),
    "optimal, c² = 2σ² ln n": Optimal(penalty="bic", boundary=None),
    "optimal, c² = σ²": Optimal(boundary=None),
    "optimal, sentence 1, elsewhere 50, c² = σ²": Optimal(),
    "step": Step(),
    "sequence": Sequence(),
}


def main(scored: Path) -> None:
    """Print the table."""
    manifest = open_output(scored).manifest
    counts = manifest.counts
    print(
        f"{counts.rows:,} rows = {counts.annotated:,} annotated + {counts.rejected:,} rejected {counts.rejects or ''}\n"
    )
    sides = manifest.sides
    kept = " | ".join(f"kept tokens, {side}" for side in sides)
    print(f"| segmenter | segments per response | {kept} | empty masks | err_seq | err_tok | err_seg | seconds |")
    print("|---|---:|" + "---:|" * len(sides) + "---:|---:|---:|---:|---:|")
    for name, segmenter in SEGMENTERS.items():
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            summary = mask(scored, Path(folder) / "masked", mask=MaskConfig(segmenter=segmenter))
            seconds = time.perf_counter() - started
            errors = measure(Path(folder) / "masked")
        responses = sum(side.responses for side in summary.sides.values())
        segments = sum(side.segments for side in summary.sides.values()) / responses
        shares = " | ".join(f"{summary.sides[s].kept_tokens / summary.sides[s].tokens:.1%}" for s in sides)
        empty = sum(count for note, count in summary.notes.items() if note.startswith("empty_mask"))
        per_token = " | ".join(f"{e / errors.tokens:.4f}" for e in (errors.err_seq, errors.err_tok, errors.err_seg))
        print(
            f"| {name} | {segments:.1f} | {shares} | {empty / responses:.1%} | {per_token} | {seconds:.1f} |",
            flush=True,
        )


def measure(masked: Path) -> ApproximationErrors:
    """Eq. 12–14 over all responses of a masked directory."""
    directory = open_output(masked, verify=False)
    sigma = directory.manifest.statistics["sigma"]
    total = ApproximationErrors(0.0, 0.0, 0.0, 0, 0)
    for batch in directory.data_batches():
        for side in directory.manifest.sides:
            reward: Any = batch.column(f"{side}_token_reward")
            start: Any = batch.column(f"{side}_seg_start")
            offsets = reward.offsets.to_numpy().astype(np.int64)
            values = reward.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
            offsets = offsets - offsets[0]
            starts = np.concatenate(
                [s + first for s, first in zip(start.to_numpy(zero_copy_only=False), offsets[:-1], strict=True)]
            ).astype(np.int64)
            found = approximation_errors(values, offsets, starts, sigma)
            total = ApproximationErrors(
                total.err_seq + found.err_seq,
                total.err_tok + found.err_tok,
                total.err_seg + found.err_seg,
                total.tokens + found.tokens,
                total.segments + found.segments,
            )
    return total


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.real_data DIR_WITH_SCORES")
    main(Path(sys.argv[1]))
