"""Stage ``score``: input rows to rewards over the bytes of their responses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, cast

import pyarrow as pa
from pydantic import JsonValue

from asr_data.errors import InputError, RowRejected, ScorerError
from asr_data.pipeline.measured import measured_json
from asr_data.pipeline.scorer_failures import score_or_split
from asr_data.pipeline.shard_files import ShardNames
from asr_data.progress import Progress
from asr_data.ragged import list_column
from asr_data.response import has_only_content, response_text
from asr_data.rows import Layout, Source, read_rows, to_arrow
from asr_data.rows.input_guard import InputGuard
from asr_data.scoring.protocol import Preparing, Scored, Scorer
from asr_data.storage.columns import with_added
from asr_data.storage.output import OutputDirectory, Rows
from asr_data.text import check_rewards
from asr_data.types import ByteRewards, RejectedRow, Row, Text
from asr_data_schemas import row_schema, scores_schema

STAGE = "score"
_BATCH_ROWS = 1_000
MAX_TEXT_BYTES: Final = 8 * 2**20
"""Text of one row: some two million tokens, for which a run takes up to 3 GB of memory."""
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
T = TypeVar("T")


class ScoreStage:
    """Scores an input shard by shard.

    Args:
        source: the input.
        layout: how its rows are read.
        scorer: the reward model.
        prefix: of the added columns.
        run: the value of ``asr_run``.
        shard_rows: input rows per shard.
    """

    def __init__(
        self, source: Source, layout: Layout, scorer: Scorer, *, prefix: str, run: str, shard_rows: int
    ) -> None:
        self._source, self._layout, self._scorer = source, layout, scorer
        self._prefix, self._run, self._shard_rows = prefix, run, shard_rows
        self._guard = InputGuard(source)
        self.tokens = 0

    def work(self, output: OutputDirectory, names: ShardNames, shards: Sequence[int], progress: Progress) -> None:
        """Score those of the shards that are not committed yet."""
        missing = [index for index in shards if output.committed(STAGE, index) is None]
        if not missing:
            return
        for shard in ahead(self._inputs(missing)):
            self._shard(output, names, shard, progress)

    def _inputs(self, missing: Sequence[int]) -> Iterator[_Shard]:
        """Shards as they are read, and tokenised where the scorer can do that apart from running its model."""
        # One pass over the input: most readers cannot jump.
        first, size = missing[0], self._shard_rows
        inputs = read_rows(self._source, self._layout, size, first * size, (missing[-1] + 1) * size)
        for index in range(first, missing[-1] + 1):
            batch = self._read(inputs)
            if index in missing:
                bounded = [_bounded(row) for row in batch]
                rows = [row for row in bounded if isinstance(row, Row)]
                rejected = [row for row in bounded if isinstance(row, RejectedRow)]
                prepared = self._scorer.prepare(rows) if isinstance(self._scorer, Preparing) else None
                yield _Shard(index, rows, rejected, prepared)

    def _read(self, inputs: Iterator[list[Row | RejectedRow]]) -> list[Row | RejectedRow]:
        try:
            return next(inputs, [])
        except InputError:
            self._guard.check()  # says so if the input changed
            raise

    def _shard(self, output: OutputDirectory, names: ShardNames, shard: _Shard, progress: Progress) -> None:
        read = range(shard.index * self._shard_rows, min((shard.index + 1) * self._shard_rows, self._source.rows))
        index, rows, rejected = shard.index, shard.rows, shard.rejected
        scored = self._score(shard, read, progress)
        kept: list[tuple[Row, tuple[ByteRewards, ...]]] = []
        for row, answer in zip(rows, scored, strict=True):
            checked = _checked(row, answer, partial=self._scorer.info.partial)
            if isinstance(checked, RejectedRow):
                rejected.append(checked)
            else:
                kept.append((row, checked))
        tables: dict[str, Rows] = {
            names.rows(index): self._row_table([row for row, _ in kept]),
            names.scores(index): _score_table(kept, self._layout),
        }
        self._guard.check()
        output.commit_shard(STAGE, index, tables, {"rejects": rejects_json(rejected), **measured_json(self._scorer)})
        progress.update("scoring", read.stop, self._source.rows, self.tokens)

    def _score(self, shard: _Shard, read: range, progress: Progress) -> list[Scored]:
        rows = shard.rows
        if isinstance(self._scorer, Preparing):
            expected = self._scorer.tokens(shard.prepared)
        else:  # four characters a token, each read once
            expected = sum(len(_text(row.prompt)) + len(_text(c.content)) for row in rows for c in row.completions) // 4
        before = self.tokens

        def on_tokens(count: int) -> None:
            self.tokens += count
            # Batches run longest first, so rows are not done in order: they are estimated from the tokens done.
            share = min(1.0, (self.tokens - before) / max(1, expected))
            progress.update("scoring", read.start + int(share * len(read)), self._source.rows, self.tokens)

        if not isinstance(self._scorer, Preparing):
            return score_or_split(self._scorer, rows, on_tokens)
        scored = self._scorer.score_prepared(rows, shard.prepared, on_tokens)
        if len(scored) != len(rows):
            raise ScorerError(f"scorer {self._scorer.info.name!r} gave {len(scored)} answers for {len(rows)} rows")
        return scored

    def _row_table(self, rows: Sequence[Row]) -> Rows:
        several = self._layout.pairs.several
        added = row_schema(self._prefix, pairs=several)
        schema = with_added(self._source.schema, added)

        def batches() -> Iterator[pa.Table]:
            for i in range(0, len(rows), _BATCH_ROWS):
                part = rows[i : i + _BATCH_ROWS]
                table = to_arrow([row.source for row in part], self._source.schema)
                columns: list[Any] = [[row.pair for row in part]] if several else []
                columns += [[[]] * len(part), [row.index for row in part], [self._run] * len(part)]
                arrays = [pa.array(c, type=field.type) for c, field in zip(columns, added, strict=True)]
                yield pa.Table.from_arrays([*table.columns, *arrays], schema=schema)

        return schema, batches()


@dataclass(frozen=True, slots=True)
class _Shard:
    """Input rows of one shard, or their pairs; ``prepared`` is the scorer's own."""

    index: int
    rows: list[Row]
    rejected: list[RejectedRow]
    prepared: Any


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each made in another thread while the one before it is worked on."""
    end = object()
    pool = ThreadPoolExecutor(1, "read-ahead")
    try:
        following = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield cast(T, item)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a run that is told to stop does not wait for the next shard


def _bounded(row: Row | RejectedRow) -> Row | RejectedRow:
    """The row, rejected where its text is so long that tokens and offsets of it would take all memory."""
    if isinstance(row, RejectedRow):
        return row
    texts = [_text(row.prompt), *(_text(completion.content) for completion in row.completions)]
    if sum(map(len, texts)) * 4 <= MAX_TEXT_BYTES:  # no character takes more than four bytes
        return row
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if size <= MAX_TEXT_BYTES:
        return row
    message = f"prompt and responses have {size:,} bytes of text; at most {MAX_TEXT_BYTES:,} are read"
    return RejectedRow(row.index, "too_long", message, row.pair)


def _text(content: Text) -> str:
    """All that stands in a prompt or a completion, whoever wrote it."""
    return content if isinstance(content, str) else "".join(str(m.get("content") or "") for m in content)


def rejects_json(rejected: Iterable[RejectedRow]) -> list[JsonValue]:
    """Rejected rows for a shard's record.

    JSON and Arrow hold no lone surrogates: a message shows them escaped. Addresses of Python's objects are left out, as
    they differ from run to run, and files must not.
    """
    return [
        {
            "index": r.index,
            "code": r.code,
            "message": _ADDRESS.sub("", r.message).encode("utf-8", "backslashreplace").decode(),
            **({} if r.pair is None else {"pair": r.pair}),
        }
        for r in rejected
    ]


def _checked(row: Row, answer: Scored, *, partial: bool) -> tuple[ByteRewards, ...] | RejectedRow:
    if isinstance(answer, RejectedRow):
        return replace(answer, pair=row.pair)
    try:
        if len(answer) != len(row.completions):
            raise RowRejected("wrong_reward_length", f"{len(answer)} rewards for {len(row.completions)} responses")
        for completion, rewards in zip(row.completions, answer, strict=True):
            text = response_text(completion.content)
            # Reasoning and calls may be unknown to any scorer.
            may_lack = partial or not has_only_content(completion.content)
            check_rewards(rewards, len(text.encode()), partial=may_lack)
    except RowRejected as rejected:
        return RejectedRow(row.index, rejected.code, rejected.message, row.pair)
    return answer


def _score_table(kept: Sequence[tuple[Row, tuple[ByteRewards, ...]]], layout: Layout) -> Rows:
    sides, several = layout.sides, layout.pairs.several
    schema = scores_schema(sides, pairs=several)
    columns: list[Any] = [pa.array([row.index for row, _ in kept], type=pa.int64())]
    columns += [pa.array([row.pair for row, _ in kept], type=pa.int32())] if several else []
    for position, _ in enumerate(sides):
        rewards = [answer[position] for _, answer in kept]
        columns.append(list_column([r.span_end for r in rewards], pa.int32()))
        columns.append(list_column([r.span_reward for r in rewards], pa.float32()))
        columns.append(list_column([r.step_end for r in rewards], pa.int32()))
        columns.append(pa.array([r.reward for r in rewards], type=pa.float32()))
    return schema, [pa.Table.from_arrays(columns, schema=schema)]
