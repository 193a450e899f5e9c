"""From rows to files: the only place that knows every stage.

    rows ──score──▶ rows + rewards over bytes ──align──▶ policy tokens + token rewards ──mask──▶ data/ scores/ rejects/

Each stage works shard by shard, a shard being ``shard_rows`` consecutive input rows, and commits a shard before it
goes on. :func:`run` does all three, :func:`score` the first, :func:`mask` the last two on a finished directory. The
first two do not look at other shards, so several machines can share them (``part=``); :func:`merge` joins their parts.
Importing this does not import torch.
"""

from asr_data.pipeline.commands import mask, run, score
from asr_data.pipeline.in_memory import annotate
from asr_data.pipeline.merging import merge
from asr_data.pipeline.preflight import check_before_scoring
from asr_data.pipeline.summary import SideSummary, Summary
from asr_data.pipeline.templates import first_rows
from asr_data.progress import Progress, Silent

__all__ = [
    "run", "score", "mask", "merge", "annotate", "check_before_scoring", "first_rows",
    "Progress", "Silent", "Summary", "SideSummary",
]  # fmt: skip
