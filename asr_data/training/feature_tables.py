"""What a frozen model says of the tokens of training examples: computed once, kept in the work directory."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from asr_data.boundaries import BoundaryKind, boundary_kinds
from asr_data.errors import RowRejected
from asr_data.progress import Progress
from asr_data.response import code_points, response_text
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.engine import Request, Runner
from asr_data.scoring.feature_head import FeatureEncoder, FeatureReading
from asr_data.training.examples import Goal, TrainingExample
from asr_data.types import Bool, Float16, Float32, Int32, Side

CHUNK: Final = 32
"""Examples that are computed, and kept, together."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is read of one example.

    Attributes:
        group, source, goal: as of :class:`asr_data.training.encode.Unit`.
        responses: a pair, chosen first, or one response.
        preferred: of each response.
        side: of the first.
        target: float32 ``[tokens]`` of a labelled response, in [0, 1], NaN where unknown; empty for other goals.
        sentence: int32 ``[tokens]``, the sentence that each token of the first response is in.
        tokens: to be read, in all.
    """

    group: str
    source: str
    goal: Goal
    responses: tuple[FeatureReading, ...]
    preferred: tuple[bool, ...]
    side: Side
    target: Float32
    sentence: Int32
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What was read of one response; scalars are not standardised.

    Attributes:
        hidden: float16 ``[tokens, hidden]``.
        own: float32 ``[tokens, own_columns]``.
        partner: float32 ``[tokens, partner_columns]``; None where there is none.
        ratio: float32 ``[tokens]``, the log-ratio, 0 without a partner.
    """

    hidden: Float16
    own: Float32
    partner: Float32 | None
    ratio: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """An example with what was read of its responses."""

    asked: Asked
    tables: tuple[Table, ...]

    @property
    def group(self) -> str:
        """Identity of the question."""
        return self.asked.group

    @property
    def known(self) -> Bool:
        """bool ``[tokens]``, where the target is known."""
        return ~np.isnan(self.asked.target)


class Asking:
    """From examples to requests.

    Args:
        with_partner: reads labelled responses.
        alone: reads pairs and verdicts, whose figure must not know the other answer.
        contexts: the prompt alone.
        max_length: longest request in tokens.
    """

    def __init__(
        self, with_partner: FeatureEncoder, alone: FeatureEncoder, contexts: Contexts, max_length: int
    ) -> None:
        self._with_partner, self._alone, self._contexts = with_partner, alone, contexts
        self._max_length = max_length

    def ask(self, examples: Sequence[TrainingExample], source: str) -> tuple[list[Asked], Counter[str]]:
        """What to read of the examples of one source; those that cannot be used are counted by reason."""
        found: list[Asked] = []
        skipped: Counter[str] = Counter()
        for example in examples:
            try:
                asked = self._one(example, source)
            except RowRejected as rejected:
                skipped[rejected.code] += 1
                continue
            longest = max(len(r.ids) for reading in asked.responses for r in reading.requests)
            if longest > self._max_length:
                skipped["too_long"] += 1
            elif asked.goal == "labels" and not _is_telling(asked.target):
                skipped["all_good_or_all_bad"] += 1  # there is nothing to tell apart
            else:
                found.append(asked)
        return found, skipped

    def _one(self, example: TrainingExample, source: str) -> Asked:
        labelled = example.goal == "labels"
        row = example.pair if labelled and example.pair is not None else example.row
        place = example.place if labelled and example.pair is not None else 0
        places = [place] if labelled else range(len(row.completions))
        encoder = self._with_partner if labelled else self._alone
        readings = []
        for at in places:
            view = self._contexts.beside(row, at)
            reading = None if view is None else encoder.reading(row, at, view)
            if not isinstance(reading, FeatureReading):
                raise RowRejected("text_not_in_template", "the chat template leaves the response out")
            readings.append(reading)
        completion = row.completions[place]
        text = response_text(completion.content)
        end = readings[0].span_end[1:]
        target = np.zeros(0, dtype=np.float32)
        if example.targets is not None:
            span = np.searchsorted(example.targets.span_end, end - 1, side="right")
            target = example.targets.span_reward[span]
        start = code_points(text, readings[0].span_end[:-1])
        name = {"pair": f"{source} pairs", "verdict": f"{source} verdicts", "labels": source}[example.goal]
        return Asked(
            group=example.group,
            source=name,
            goal=example.goal,
            responses=tuple(readings),
            preferred=tuple(row.completions[at].preferred for at in places),
            side=completion.side,
            target=target,
            sentence=np.cumsum(boundary_kinds(text, start) >= BoundaryKind.SENTENCE).astype(np.int32) - 1,
            tokens=sum(len(request.ids) for reading in readings for request in reading.requests),
        )


def _is_telling(target: Float32) -> bool:
    """Whether there are good tokens and bad ones."""
    known = target[~np.isnan(target)]
    return bool((known <= 0.5).any() and (known > 0.5).any())


def within_budget(asked: Sequence[Asked], tokens: int, mixing: float, seed: int) -> list[Asked]:
    """Examples of all sources until so many tokens are read, each at most once.

    Sources are drawn from in proportion to their tokens to the power of ``mixing``, in an order that the seed and the
    sources' names fix; a source that is used up leaves its share to the others.
    """
    sizes: dict[str, int] = {}
    for one in asked:
        sizes[one.source] = sizes.get(one.source, 0) + one.tokens
    streams: dict[str, Iterator[int]] = {}
    for source in sorted(sizes):
        places = [at for at, one in enumerate(asked) if one.source == source]
        key = int.from_bytes(hashlib.sha256(f"{seed} {source}".encode()).digest()[:8], "big")
        order = np.random.default_rng(key).permutation(len(places))
        streams[source] = iter([places[at] for at in order])
    drawn = dict.fromkeys(streams, 0)
    chosen: list[int] = []
    total = 0
    while streams and total < tokens:
        source = min(streams, key=lambda name: (drawn[name] / sizes[name] ** mixing, name))
        at = next(streams[source], None)
        if at is None:
            del streams[source]
            continue
        chosen.append(at)
        drawn[source] += asked[at].tokens
        total += asked[at].tokens
    return [asked[at] for at in chosen]


def read_tables(
    asked: Sequence[Asked], encoder: FeatureEncoder, runner: Runner, work: Path, progress: Progress
) -> list[Read]:
    """Run the model on every example, but for what an earlier run has kept in ``work``.

    A chunk's file is named by what was asked, so that it is only ever taken for the same examples.
    """
    work.mkdir(parents=True, exist_ok=True)
    out: list[Read] = []
    tokens = 0
    for first in range(0, len(asked), CHUNK):
        chunk = asked[first : first + CHUNK]
        path = work / f"{_key(chunk)}.npz"
        if not path.exists():
            _keep(path, _compute(chunk, encoder, runner))
        out += _kept(path, chunk)
        tokens += sum(one.tokens for one in chunk)
        progress.update("reading", first + len(chunk), len(asked), tokens)
    return out


def _key(chunk: Sequence[Asked]) -> str:
    asked = [[[r.ids, r.read] for reading in one.responses for r in reading.requests] for one in chunk]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


def _compute(chunk: Sequence[Asked], encoder: FeatureEncoder, runner: Runner) -> list[Table]:
    readings = [reading for one in chunk for reading in one.responses]
    requests: list[Request] = [request for reading in readings for request in reading.requests]
    answers = iter(runner.run(requests))
    tables = []
    for reading in readings:
        parts = [next(answers) for _ in reading.requests]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            raise MemoryError("a training example does not fit into memory by itself; set a lower --max-length")
        values = np.concatenate(found)
        own, partner, ratio = encoder.raw_scalars(reading, values)
        hidden = values[reading.at, : values.shape[1] - encoder.width].astype(np.float16)
        beside = None if partner is None else partner.astype(np.float32)
        tables.append(Table(hidden, own.astype(np.float32), beside, ratio.astype(np.float32)))
    return tables


def _keep(path: Path, tables: Sequence[Table]) -> None:
    """Written beside its place and renamed, so that a file that is there is whole."""
    arrays: dict[str, np.ndarray] = {}
    for number, table in enumerate(tables):
        arrays |= {f"{number}.hidden": table.hidden, f"{number}.own": table.own, f"{number}.ratio": table.ratio}
        if table.partner is not None:
            arrays[f"{number}.partner"] = table.partner
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type] # names are free
    partial.replace(path)


def _kept(path: Path, chunk: Sequence[Asked]) -> list[Read]:
    out, number = [], 0
    with np.load(path, allow_pickle=False) as arrays:
        for one in chunk:
            tables = []
            for _ in one.responses:
                name = f"{number}.partner"
                partner = arrays[name] if name in arrays.files else None
                own, hidden, ratio = (arrays[f"{number}.{part}"] for part in ("own", "hidden", "ratio"))
                tables.append(Table(hidden, own, partner, ratio))
                number += 1
            out.append(Read(one, tuple(tables)))
    return out
