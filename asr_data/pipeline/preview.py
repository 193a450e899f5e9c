"""What a run would do, from its first rows: what is rejected, where responses lie, and what it would take."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from asr_data.config import OutputConfig, Part
from asr_data.errors import RowRejected
from asr_data.pipeline.shard_files import ShardNames
from asr_data.rows import Layout, Source, read_rows
from asr_data.scoring.protocol import Scorer
from asr_data.text.align import align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Row, Side

FIRST_ROWS: Final = 200
"""Rows that are read."""
_MEASURED_ROWS: Final = 32
_MEASURED_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ResponseTokens:
    """Where a response lies.

    Attributes:
        tokens: the policy's tokens, each as text.
        start, end: the tokens that carry text of the response, counted from the prompt's first token.
    """

    tokens: list[str]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Example:
    """A row as the policy will see it: index in the input and which pair of it, the prompt's tokens as texts, and the
    responses by side."""

    row: int
    pair: int | None
    prompt: list[str]
    responses: dict[Side, ResponseTokens]


@dataclass(slots=True)
class FirstRows:
    """The first rows of an input.

    Attributes:
        read: how many were read.
        pairs: how many pairs they become, rows rejected as a whole among them; None where each is one.
        rows: those that can be annotated, as far as that is known before they are scored.
        tokens: of each of them, policy tokens of prompt and responses.
        rejects: reason code → how many of the others.
        example: the first of the rows; None where there is none.
    """

    read: int
    pairs: int | None = None
    rows: list[Row] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    rejects: Counter[str] = field(default_factory=Counter)
    example: Example | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A short measurement; its rewards are thrown away.

    Attributes:
        rows: how many were scored, or pairs, the first one once more than the others, to warm up.
        seconds: what they took.
        tokens: how many of the scorer's tokens they are; 0 for a scorer without a model.
        memory: the largest resident size of the process so far, in bytes.
        device_memory: the most that torch has held on a GPU, in bytes; None without one.
        expected_seconds: what all rows will take.
    """

    rows: int
    seconds: float
    tokens: int
    memory: int
    device_memory: int | None
    expected_seconds: float


def look_at(source: Source, layout: Layout, policy: Tokenizer) -> FirstRows:
    """Read the first rows and tokenise them, without a model.

    Raises:
        InputError: the input cannot be read.
    """
    count = min(FIRST_ROWS, source.rows)
    read = next(read_rows(source, layout, count, 0, count), [])
    found = FirstRows(count, len(read) if layout.pairs.several else None)
    for row in read:
        if not isinstance(row, Row):
            found.rejects[row.code] += 1
            continue
        try:
            aligned = align(row, policy)
        except RowRejected as rejected:
            found.rejects[rejected.code] += 1
            continue
        found.rows.append(row)
        found.tokens.append(len(aligned.prompt_ids) + sum(len(one.ids) for one in aligned.responses))
        if found.example is None:
            first = len(aligned.prompt_ids)
            sides = zip(row.completions, aligned.responses, strict=True)
            responses = {
                completion.side: ResponseTokens(_texts(one.ids, policy), *_reach(one.covers, first))
                for completion, one in sides
            }
            found.example = Example(row.index, row.pair, _texts(aligned.prompt_ids, policy), responses)
    return found


def measure(scorer: Scorer, found: FirstRows, rows: int) -> Measurement | None:
    """Score a few rows; None where there are none.

    Args:
        scorer: a model that is loaded.
        found: the first rows.
        rows: how many the run would read.
    """
    if not found.rows:
        return None
    scorer.score(found.rows[:1])  # the first call compiles and allocates
    before = time.monotonic()
    scorer.score(found.rows[:1])
    once = time.monotonic() - before
    count = max(1, min(_MEASURED_ROWS, len(found.rows), int(_MEASURED_SECONDS / max(once, 1e-4))))
    tokens: list[int] = []
    before = time.monotonic()
    scorer.score(found.rows[:count], tokens.append)
    seconds = time.monotonic() - before
    per_token = seconds / max(1, sum(found.tokens[:count]))
    expected = per_token * sum(found.tokens) / found.read * rows
    return Measurement(count, seconds, sum(tokens), _resident(), _on_device(), expected)


def files_of(source: Source, writing: OutputConfig, part: Part | None, *, reference: bool) -> list[str]:
    """The Parquet files that a run would write, in the order in which it writes them."""
    total = -(-source.rows // writing.shard_rows)
    names = ShardNames(writing.split)
    kinds = [names.rows, names.scores, *([names.logprobs] if reference else [])]
    shards = range(total) if part is None else part.files(total)
    return [kind(shard) for kind in kinds for shard in shards]


def rows_of(source: Source, writing: OutputConfig, part: Part | None) -> int:
    """How many input rows a run would read."""
    if part is None:
        return source.rows
    shards = part.files(-(-source.rows // writing.shard_rows))
    return min(source.rows, shards.stop * writing.shard_rows) - shards.start * writing.shard_rows


def _texts(ids: Sequence[int], policy: Tokenizer) -> list[str]:
    return [str(policy.hf.decode([token])) for token in ids]


def _reach(covers: np.ndarray, first: int) -> tuple[int, int]:
    """First and one past the last token with text, counted from the prompt's first token."""
    at = np.flatnonzero(covers)
    return (first + int(at[0]), first + int(at[-1]) + 1) if len(at) else (first, first)


def _resident() -> int:
    """The largest resident size so far; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _on_device() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
