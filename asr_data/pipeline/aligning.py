"""Stage ``align``: scored rows to policy tokens with token rewards, and statistics over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from asr_data.errors import CorruptFileError, RowRejected
from asr_data.masks.batch import TokenBatch
from asr_data.pipeline.scoring import ragged, rejects_json
from asr_data.pipeline.shards import ScoredShards, ShardNames
from asr_data.pipeline.summary import Progress
from asr_data.response import has_only_content, stored_rewards
from asr_data.rows import Layout, normalise
from asr_data.segments.rewards import round_bfloat16
from asr_data.storage.output import OutputDirectory, Rows
from asr_data.text import AlignedResponse, AlignedRow, Tokenizer, align, initial_value, project
from asr_data.text.boundaries import BoundaryKind, boundary_kinds, code_points
from asr_data.types import Bool, ByteRewards, Float32, Int32, RejectedRow, RewardForm, Row, Side

STAGE = "align"
_WRITTEN, _CLOSING, _STEP, _BOUNDARY_SHIFT, _BOUNDARY, _TEXT = 1, 2, 4, 3, 7, 64


@dataclass(frozen=True, slots=True)
class AlignedSide:
    """One response over policy tokens, as the ``align`` stage stores it."""

    ids: Int32
    text_start: Int32
    values: Float32
    flags: Int32
    """Bits: written, closing, start of a step, three of ``BoundaryKind``, carries text of the response."""
    initial: float
    reward: float
    preferred: bool


AlignedRecord: TypeAlias = tuple[int, list[int], list[AlignedSide], list[str]]
"""Input row, prompt ids, the sides in order, notes."""


class AlignStage:
    """Tokenises scored rows for the policy and carries the rewards over."""

    def __init__(
        self,
        shards: ScoredShards,
        layout: Layout,
        tokenizer: Tokenizer,
        form: RewardForm,
        *,
        index_column: str,
    ) -> None:
        self._shards, self._layout, self._tokenizer, self._form = shards, layout, tokenizer, form
        self._index_column = index_column

    def work(
        self, output: OutputDirectory, names: ShardNames, shards: Sequence[int], total: int, progress: Progress
    ) -> None:
        """Align those of the shards that are not committed yet."""
        for index in shards:
            if output.committed(STAGE, index) is None:
                self._shard(output, names, index, total, progress)
        progress.message(f"aligned {len(shards)} shards to tokenizer {self._tokenizer.name}")

    def _shard(self, output: OutputDirectory, names: ShardNames, index: int, total: int, progress: Progress) -> None:
        rejected: list[JsonValue] = []  # filled while the file is written, recorded after
        tokens = 0

        def tables() -> Iterator[pa.Table]:
            nonlocal tokens
            for rows, scores in zip(self._shards.rows(index), self._shards.scores(index), strict=True):
                table, count = self._batch(rows, scores, rejected)
                tokens += count
                yield table
                progress.update("aligning", int(rows.column(self._index_column)[-1].as_py()) + 1, total, tokens)

        written: Rows = (aligned_schema(self._layout.sides), tables())
        output.commit_shard(STAGE, index, {names.aligned(index): written}, {"rejects": rejected})

    def _batch(self, rows: pa.RecordBatch, scores: pa.RecordBatch, rejected: list[JsonValue]) -> tuple[pa.Table, int]:
        indices: list[Any] = rows.column(self._index_column).to_pylist()
        if indices != scores.column("asr_row").to_pylist():
            raise CorruptFileError(f"data/ and scores/ hold different rows near input row {indices[:1]}")
        kept: list[AlignedRecord] = []
        per_side = [byte_rewards(scores, side) for side in self._layout.sides]
        for position, (index, record) in enumerate(zip(indices, rows.to_pylist(), strict=True)):
            try:
                row = normalise(index, record, self._layout)
                kept.append(self._row(row, [rewards[position] for rewards in per_side]))
            except RowRejected as error:
                rejected += rejects_json([RejectedRow(index, error.code, error.message)])
        return aligned_table(kept, self._layout.sides), sum(len(s.ids) for _, _, sides, _ in kept for s in sides)

    def _row(self, row: Row, rewards: Sequence[ByteRewards]) -> AlignedRecord:
        aligned = align(row, self._tokenizer)
        sides = [
            aligned_side(
                response, stored_rewards(given, completion.content), self._form, preferred=completion.preferred
            )
            for response, given, completion in zip(aligned.responses, rewards, row.completions, strict=True)
        ]
        return row.index, aligned.prompt_ids, sides, self._notes(row, aligned, sides)

    def _notes(self, row: Row, aligned: AlignedRow, sides: Sequence[AlignedSide]) -> list[str]:
        notes = ["prompt_merged"] if aligned.prompt_merged else []
        if any(response.missing for response in aligned.responses):
            notes.append("text_not_in_template")
        pairs = zip(row.completions, sides, strict=True)
        if any(not has_only_content(one.content) and np.isnan(side.values).any() for one, side in pairs):
            notes.append("unscored_text")
        if self._tokenizer.date is not None and not isinstance(row.prompt, str):
            notes.append(f"template_date:{self._tokenizer.date.isoformat()}")
        return notes


def aligned_side(response: AlignedResponse, rewards: ByteRewards, form: RewardForm, *, preferred: bool) -> AlignedSide:
    """One response's rewards over its policy tokens.

    Raises:
        RowRejected: a reward is beyond bfloat16.
    """
    text_start = code_points(response.text, response.start)
    kinds = boundary_kinds(response.text, text_start)
    steps = _scorer_steps(response, rewards) if len(rewards.step_end) else kinds >= BoundaryKind.SENTENCE
    values = round_bfloat16(project(rewards, response.start, response.end, form, response.takes))
    if np.isinf(values).any():
        raise RowRejected("non_finite_reward", "a token reward is beyond the largest bfloat16 number")
    flags = response.written * _WRITTEN + response.closing * _CLOSING + steps * _STEP + response.covers * _TEXT
    return AlignedSide(
        ids=np.array(response.ids, dtype=np.int32),
        text_start=text_start,
        values=values,
        flags=(flags + (kinds.astype(np.int32) << _BOUNDARY_SHIFT)).astype(np.int32),
        initial=initial_value(rewards),
        reward=float("nan") if rewards.reward is None else rewards.reward,
        preferred=preferred,
    )


def _scorer_steps(response: AlignedResponse, rewards: ByteRewards) -> Bool:
    """True at the token that holds the first byte of each of the scorer's steps."""
    begins = np.concatenate([[0], rewards.step_end[:-1]])
    first = np.searchsorted(response.end, begins, side="right")
    starts = np.zeros(len(response.ids), dtype=bool)
    starts[first[first < len(starts)]] = True
    return starts


def byte_rewards(scores: pa.RecordBatch, side: Side) -> list[ByteRewards]:
    """One side of a ``scores`` batch."""

    def lists(name: str) -> list[Any]:
        column: Any = scores.column(f"{side}_{name}")
        values, offsets = column.values.to_numpy(zero_copy_only=False), column.offsets.to_numpy()
        return [values[a:b] for a, b in pairwise(offsets)]

    return [
        ByteRewards(end, reward, steps, own)
        for end, reward, steps, own in zip(
            lists("span_end"),
            lists("span_reward"),
            lists("step_end"),
            scores.column(f"{side}_reward").to_pylist(),
            strict=True,
        )
    ]


def aligned_schema(sides: Sequence[Side]) -> pa.Schema:
    """Columns of the intermediate files."""
    fields: list[pa.Field[Any]] = [
        pa.field("asr_row", pa.int64()),
        pa.field("prompt_ids", pa.list_(pa.int32())),
        pa.field("notes", pa.list_(pa.string())),
    ]
    for side in sides:
        fields += [
            pa.field(f"{side}_ids", pa.list_(pa.int32())),
            pa.field(f"{side}_text_start", pa.list_(pa.int32())),
            pa.field(f"{side}_values", pa.list_(pa.float32())),
            pa.field(f"{side}_flags", pa.list_(pa.int32())),
            pa.field(f"{side}_initial", pa.float32()),
            pa.field(f"{side}_reward", pa.float32()),
            pa.field(f"{side}_preferred", pa.bool_()),
        ]
    return pa.schema(fields)


def aligned_table(kept: Sequence[AlignedRecord], sides: Sequence[Side]) -> pa.Table:
    """Rows as the ``align`` stage stores them; :func:`token_batch` reads its batches."""
    columns: list[Any] = [
        pa.array([index for index, _, _, _ in kept], type=pa.int64()),
        pa.array([prompt for _, prompt, _, _ in kept], type=pa.list_(pa.int32())),
        pa.array([notes for _, _, _, notes in kept], type=pa.list_(pa.string())),
    ]
    for position, _ in enumerate(sides):
        mine = [aligned[position] for _, _, aligned, _ in kept]
        columns += [
            ragged([s.ids for s in mine], pa.int32()),
            ragged([s.text_start for s in mine], pa.int32()),
            ragged([s.values for s in mine], pa.float32()),
            ragged([s.flags for s in mine], pa.int32()),
            pa.array([s.initial for s in mine], type=pa.float32()),
            pa.array([s.reward for s in mine], type=pa.float32()),
            pa.array([s.preferred for s in mine], type=pa.bool_()),
        ]
    return pa.Table.from_arrays(columns, schema=aligned_schema(sides))


def token_batch(batch: pa.RecordBatch, sides: Sequence[Side]) -> TokenBatch:
    """An ``align`` batch as flat arrays, the responses of a row adjacent."""
    rows = batch.num_rows

    def gather(name: str, kind: Any) -> tuple[Any, Any]:
        columns: list[Any] = [batch.column(f"{side}_{name}") for side in sides]
        offsets = [c.offsets.to_numpy() for c in columns]
        values = [c.values.to_numpy(zero_copy_only=False) for c in columns]
        parts = [values[s][offsets[s][r] : offsets[s][r + 1]] for r in range(rows) for s in range(len(sides))]
        lengths = np.array([len(p) for p in parts], dtype=np.int64)
        flat = np.concatenate(parts).astype(kind) if parts else np.zeros(0, dtype=kind)
        return flat, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def scalars(name: str) -> Any:
        return np.stack([batch.column(f"{side}_{name}").to_numpy(zero_copy_only=False) for side in sides], 1).ravel()

    values, row_offsets = gather("values", np.float32)
    flags, _ = gather("flags", np.int32)
    return TokenBatch(
        values=values,
        row_offsets=row_offsets,
        written=(flags & _WRITTEN) > 0,
        end=(flags & _CLOSING) > 0,
        preferred=scalars("preferred"),
        group=np.repeat(batch.column("asr_row").to_numpy(), len(sides)),
        boundary=((flags >> _BOUNDARY_SHIFT) & _BOUNDARY).astype(np.int8),
        text=(flags & _TEXT) > 0,
        step_start=(flags & _STEP) > 0,
        initial=scalars("initial"),
        scorer_reward=scalars("reward"),
    )
