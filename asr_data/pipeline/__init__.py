"""From rows to files: the only place that knows every stage.

    rows ──score──▶ rows + rewards over bytes ──align──▶ policy tokens + token rewards ──mask──▶ data/ scores/ rejects/

Each stage works shard by shard, a shard being ``shard_rows`` consecutive input rows, and commits a shard before it
goes on. :func:`run` does all three, :func:`score` the first, :func:`mask` the last two on a finished directory. The
first two do not look at other shards, so several machines can share them (``part=``); :func:`merge` joins their parts.
Importing this imports neither torch nor numba: each name is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOME = {
    **dict.fromkeys(("run", "score", "mask"), "asr_data.pipeline.commands"),
    "annotate": "asr_data.pipeline.in_memory",
    "merge": "asr_data.pipeline.merging",
    "check_before_scoring": "asr_data.pipeline.preflight",
    **dict.fromkeys(("Summary", "SideSummary"), "asr_data.pipeline.summary"),
    "first_rows": "asr_data.pipeline.templates",
    **dict.fromkeys(("Progress", "Silent"), "asr_data.progress"),
}
"""Where they live. Commands that only look at what was written import one of the modules, not all of them."""


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'asr_data.pipeline' has no attribute {name!r}")
