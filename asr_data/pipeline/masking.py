"""Stage ``mask``: policy tokens with rewards to segments, masks and the files of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from asr_data.config import MaskConfig
from asr_data.errors import CorruptFileError
from asr_data.masks.apply import data_set_statistics, needs_statistics, segment_and_mask
from asr_data.masks.batch import MaskedBatch, TokenBatch
from asr_data.masks.positions import tokens_by_fifth
from asr_data.pipeline.aligned_rows import token_batch
from asr_data.pipeline.scoring import rejects_json
from asr_data.pipeline.shard_files import BATCH_ROWS, ScoredShards, ShardNames
from asr_data.progress import Progress
from asr_data.ragged import Ragged, interleaved, list_column, row_sums
from asr_data.segments.statistics import RewardStatistics
from asr_data.storage.columns import with_added
from asr_data.storage.output import OutputDirectory, Rows
from asr_data.storage.reader import read_batches
from asr_data.storage.row_keys import numbers_of, row_keys
from asr_data.types import Bool, Float32, Int64, RejectedRow, Side
from asr_data_schemas import data_schema, logprobs_schema, scores_schema

STAGE = "mask"


class MaskStage:
    """Cuts aligned rows into segments and writes ``data/`` and ``scores/``.

    Args:
        shards: the scored rows that were aligned.
        sides: the sides of a row.
        config: segments and masks.
        prefix: of the added columns.
        run: the value of ``asr_run``.
        schema: of the input columns.
        pairs: whether an input row can be several rows.
        reference: with the reference's log-probabilities.
    """

    def __init__(
        self,
        shards: ScoredShards,
        sides: Sequence[Side],
        config: MaskConfig,
        *,
        prefix: str,
        run: str,
        schema: pa.Schema,
        pairs: bool = False,
        reference: bool = False,
    ) -> None:
        self._reference, self._pairs = reference, pairs
        self._shards, self._sides, self._config = shards, sides, config
        self._prefix, self._run, self._input_schema = prefix, run, schema
        self.statistics = RewardStatistics()

    def measure(self, output: OutputDirectory, names: ShardNames, progress: Progress) -> None:
        """The pass over all rows for data-set noise and baselines."""

        def batches() -> Iterator[TokenBatch]:
            for index in range(self._shards.shards):
                for batch in read_batches(output.path / names.aligned(index), BATCH_ROWS):
                    if batch.num_rows:
                        yield token_batch(batch, self._sides)

        self.statistics = data_set_statistics(batches, self._config)
        if needs_statistics(self._config):
            progress.message(f"noise of the rewards: σ = {self.statistics.sigma():.4g}")

    def work(self, output: OutputDirectory, names: ShardNames, final: ShardNames, total: int, told: Progress) -> None:
        """Mask every shard that is not committed yet."""
        running: float | None = None
        for index in range(self._shards.shards):
            record = output.committed(STAGE, index)
            if record is None:
                state = _Shard(running)
                written: Rows = (self._schema(), self._tables(output, names, index, state, total, told))
                # First the rows: what they drop, the scores drop too.
                extra = state.extra
                scores: Rows = (
                    scores_schema(self._sides, pairs=self._pairs),
                    _kept(self._shards.scores(index), state),
                )
                tables = {final.rows(index): written, final.scores(index): scores}
                if self._reference:
                    kept = _kept(self._shards.logprobs(index), state)
                    tables[final.logprobs(index)] = (logprobs_schema(self._sides, pairs=self._pairs), kept)
                record = output.commit_shard(STAGE, index, tables, extra)
            before: Any = record.extra["running"]
            running = before[0] if before else running

    def _schema(self) -> pa.Schema:
        added = data_schema(
            self._sides,
            self._prefix,
            reference=self._reference,
            weights=self._config.has_weights,
            pairs=self._pairs,
        )
        return with_added(self._input_schema, added)

    def _tables(
        self,
        output: OutputDirectory,
        names: ShardNames,
        index: int,
        state: _Shard,
        total: int,
        told: Progress,
    ) -> Iterator[pa.Table]:
        rows = RowLookup(self._shards.rows(index), self._prefix)
        logprobs = RowLookup(self._shards.logprobs(index)) if self._reference else None
        for batch in read_batches(output.path / names.aligned(index), BATCH_ROWS):
            if not batch.num_rows:
                continue
            keys = row_keys(batch)
            source = _as_schema(rows.take(keys), self._input_schema)
            tokens = token_batch(batch, self._sides)
            found = None if logprobs is None else logprobs.take(keys)
            if found is not None and self._config.weights.needs_reference:
                tokens = replace(tokens, reference=reference_logps(found, self._sides, tokens.row_offsets))
            masked, state.running = segment_and_mask(tokens, self._config, self.statistics, state.running)
            state.add(masked, tokens, self._sides, drop=self._config.on_empty == "drop")
            table = self._annotated(source, batch, masked, tokens, found)
            table = table if state.kept.all() else table.filter(pa.array(state.kept))
            state.count_notes(table.column(f"{self._prefix}asr_notes"))
            yield table
            told.update("masking", int(batch.column("asr_row")[-1].as_py()) + 1, total, state.tokens)
        state.close()

    def _annotated(
        self,
        source: pa.Table,
        batch: pa.RecordBatch,
        masked: MaskedBatch,
        tokens: TokenBatch,
        logprobs: pa.Table | None,
    ) -> pa.Table:
        count = len(self._sides)
        columns: list[Any] = [*source.columns, batch.column("prompt_ids")]
        text_start = interleaved([batch.column(f"{side}_text_start") for side in self._sides])[0]
        flat_start = masked.segment_start + np.repeat(tokens.row_offsets[:-1], np.diff(masked.segment_offsets))
        weight = [] if masked.weight is None else [masked.weight]
        for position, side in enumerate(self._sides):
            responses = np.arange(position, source.num_rows * count, count)
            columns += [
                batch.column(f"{side}_ids"),
                _lists(masked.mask, tokens.row_offsets, responses, pa.bool_()),
                _lists(masked.token_reward, tokens.row_offsets, responses, pa.float32()),
                _lists(masked.segment_start, masked.segment_offsets, responses, pa.int32()),
                _lists(text_start[flat_start], masked.segment_offsets, responses, pa.int32()),
                _lists(masked.segment_reward, masked.segment_offsets, responses, pa.float32()),
                _lists(masked.segment_keep, masked.segment_offsets, responses, pa.bool_()),
                pa.array(masked.reward[responses], type=pa.float32(), from_pandas=True),
                *([] if logprobs is None else [logprobs.column(f"{side}_ref_logp")]),
                *(_lists(flat, tokens.row_offsets, responses, pa.float32()) for flat in weight),
            ]
        notes: Any = batch.column("notes").to_pylist()
        for response in np.flatnonzero(masked.empty):
            notes[response // count].append(f"empty_mask_{self._sides[int(response) % count]}")
        for response in np.flatnonzero(masked.unknown):
            notes[response // count].append(f"unknown_{self._sides[int(response) % count]}")
        if logprobs is not None:
            for row in np.flatnonzero(pc.is_null(logprobs.column(1))):
                notes[row].append("no_ref_logp")
        columns += [
            *([batch.column("asr_pair")] if self._pairs else []),
            pa.array(notes, type=pa.list_(pa.string())),
            batch.column("asr_row"),
            pa.array([self._run] * source.num_rows, type=pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=self._schema())


class _Shard:
    """What a shard adds up to while it is written; ``extra`` is complete when ``close`` was called."""

    def __init__(self, running: float | None) -> None:
        self.running = running
        self.keys: list[Int64] = [np.zeros(0, dtype=np.int64)]
        self.kept: Bool = np.zeros(0, dtype=bool)
        self.tokens = 0
        self._totals: dict[str, Any] = {}
        self._notes: dict[str, Any] = {}
        self._rejects: list[JsonValue] = []
        self._running: list[JsonValue] = []
        self.extra: dict[str, JsonValue] = {
            "rejects": self._rejects,
            "totals": self._totals,
            "notes": self._notes,
            "running": self._running,
        }

    def add(self, masked: MaskedBatch, tokens: TokenBatch, sides: Sequence[Side], *, drop: bool) -> None:
        """Take in a batch; rows with an empty mask are rejected where they are to be dropped."""
        count = len(sides)
        keys = tokens.group[::count]
        empty = masked.empty.reshape(-1, count)
        self.kept = np.logical_not(empty.any(axis=1)) if drop else np.ones(len(keys), dtype=bool)
        self.keys.append(keys[self.kept])
        self.tokens += len(tokens.values)
        for row in np.flatnonzero(~self.kept):
            side = sides[int(np.argmax(empty[row]))]
            message = f"no segment of {side} agrees with its verdict, and --on-empty drop was given"
            index, pair = numbers_of(int(keys[row]))
            self._rejects += rejects_json([RejectedRow(index, "empty_mask", message, pair)])
        lengths, segments = np.diff(tokens.row_offsets), np.diff(masked.segment_offsets)
        kept_tokens = row_sums(masked.mask, tokens.row_offsets)
        kept_segments = row_sums(masked.segment_keep, masked.segment_offsets)
        text = tokens.written & ~tokens.end
        fifths = [tokens_by_fifth(flags, text, tokens.row_offsets) for flags in (masked.mask, text)]
        for position, side in enumerate(sides):
            mine = np.flatnonzero(self.kept) * count + position
            self._count(f"{side}_responses", len(mine))
            self._count(f"{side}_tokens", int(lengths[mine].sum()))
            self._count(f"{side}_kept_tokens", int(kept_tokens[mine].sum()))
            if masked.weight is not None:
                whole = tokens.row_offsets
                parts = [masked.weight[whole[r] : whole[r + 1]] for r in mine]
                self._count(f"{side}_weight_sum", float(sum(part.astype(np.float64).sum() for part in parts)))
            self._count(f"{side}_segments", int(segments[mine].sum()))
            self._count(f"{side}_kept_segments", int(kept_segments[mine].sum()))
            known = masked.reward[mine][~np.isnan(masked.reward[mine])]
            self._count(f"{side}_unknown_responses", len(mine) - len(known))
            self._count(f"{side}_reward_sum", float(known.astype(np.float64).sum()))
            for number, (kept, whole) in enumerate(
                zip(*(part[mine].sum(axis=0).tolist() for part in fifths), strict=True)
            ):
                self._count(f"{side}_fifth{number + 1}_tokens", whole)
                self._count(f"{side}_fifth{number + 1}_kept_tokens", kept)

    def count_notes(self, notes: pa.ChunkedArray[Any]) -> None:
        """Count the codes of the rows that are written."""
        codes: list[Any] = pc.list_flatten(notes).to_pylist()
        for note in codes:
            self._notes[note] = self._notes.get(note, 0) + 1

    def _count(self, name: str, more: float) -> None:
        self._totals[name] = self._totals.get(name, 0) + more

    def close(self) -> None:
        """Fix the running baseline for the next shard."""
        if self.running is not None:
            self._running.append(self.running)


def _kept(batches: Iterator[pa.RecordBatch], state: _Shard) -> Iterator[pa.Table]:
    """The rows that were written to ``data/``."""
    written = np.concatenate(state.keys)
    for batch in batches:
        yield pa.Table.from_batches([batch]).filter(pa.array(np.isin(row_keys(batch), written)))


class RowLookup:
    """Rows of a shard by their keys, read forward only, a batch at a time."""

    def __init__(self, batches: Iterator[pa.RecordBatch], prefix: str = "") -> None:
        self._batches, self._prefix = batches, prefix
        self._held: pa.Table | None = None

    def take(self, keys: Int64) -> pa.Table:
        """The rows with these keys, which ascend from call to call."""
        parts = [] if self._held is None else [self._held]
        while not parts or parts[-1].num_rows == 0 or row_keys(parts[-1], self._prefix)[-1] < keys[-1]:
            parts.append(pa.Table.from_batches([next(self._batches)]))
        held = pa.concat_tables(parts)
        own = row_keys(held, self._prefix)
        self._held = held.filter(pa.array(own > keys[-1]))
        return held.filter(pa.array(np.isin(own, keys)))


def _as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema in its types. Equal types are left alone: Arrow cannot cast nulls within objects."""
    columns: list[Any] = [
        column if column.type == field.type else column.cast(field.type)
        for field in schema
        for column in [table.column(field.name)]
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def reference_logps(found: pa.Table, sides: Sequence[Side], row_offsets: Int64) -> Float32:
    """Log π_ref of every token, float32 ``[N]``; NaN in rows that the reference could not read.

    Raises:
        CorruptFileError: another number of log-probabilities than of tokens, naming the row.
    """
    flat = np.full(int(row_offsets[-1]), np.nan, dtype=np.float32)
    for position, side in enumerate(sides):
        column = found.column(f"{side}_ref_logp").combine_chunks()
        absent, lists = np.asarray(column.is_null()), Ragged(column).arrays()
        for row in np.flatnonzero(~absent):
            response = row * len(sides) + position
            own = flat[row_offsets[response] : row_offsets[response + 1]]
            if len(own) != len(lists[row]):
                index = found.column("asr_row")[int(row)].as_py()
                raise CorruptFileError(
                    f"row {index}: {len(lists[row])} reference log-probabilities for {len(own)} {side} tokens"
                )
            own[:] = lists[row]
    return flat


def _lists(flat: Any, offsets: Int64, responses: Any, kind: pa.DataType) -> pa.Array[Any]:
    """Some responses of a flat array as a list column; NaN becomes null."""
    return list_column([flat[offsets[r] : offsets[r + 1]] for r in responses], kind)
