"""The check of a sequence head on the rows that it has just scored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from asr_data.evaluation.mid_response import MidResponse, mid_response
from asr_data.pipeline.aligning import byte_rewards
from asr_data.storage import open_output
from asr_data.types import ByteRewards

PAIRS = 10_000
"""As many pairs as settle the question."""


def check_mid_response(path: Path) -> MidResponse | None:
    """How a sequence head ranks the pairs of a finished directory at the end and in the middle.

    Looks at the first ``PAIRS`` pairs. None for other kinds of scorers, and where there are no pairs.
    """
    directory = open_output(path, verify=False)
    if directory.manifest.scorer.kind != "seq_head" or set(directory.manifest.sides) != {"chosen", "rejected"}:
        return None

    def pairs() -> Iterator[tuple[ByteRewards, ByteRewards]]:
        for batch in directory.score_batches():
            yield from zip(byte_rewards(batch, "chosen"), byte_rewards(batch, "rejected"), strict=True)

    return mid_response(islice(pairs(), PAIRS))
