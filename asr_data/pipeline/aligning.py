"""Stage ``align``: scored rows to policy tokens with token rewards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from asr_data.boundaries import BoundaryKind, boundary_kinds
from asr_data.errors import CorruptFileError, RowRejected
from asr_data.pipeline.aligned_rows import (
    AlignedRecord,
    AlignedSide,
    aligned_schema,
    aligned_table,
    byte_rewards,
    token_flags,
)
from asr_data.pipeline.scoring import rejects_json
from asr_data.pipeline.shard_files import ScoredShards, ShardNames
from asr_data.progress import Progress
from asr_data.response import code_points, has_only_content, stored_rewards
from asr_data.rows import Layout, normalise, records_of
from asr_data.segments.rewards import round_bfloat16
from asr_data.storage.output import OutputDirectory, Rows
from asr_data.storage.row_keys import row_numbers
from asr_data.text import AlignedResponse, AlignedRow, Tokenizer, align, initial_value, project
from asr_data.text.clock import NOTE
from asr_data.types import Bool, ByteRewards, RejectedRow, RewardForm, Row

STAGE = "align"


class AlignStage:
    """Tokenises scored rows for the policy and carries the rewards over."""

    def __init__(
        self,
        shards: ScoredShards,
        layout: Layout,
        tokenizer: Tokenizer,
        form: RewardForm,
        *,
        prefix: str,
    ) -> None:
        self._shards, self._layout, self._tokenizer, self._form = shards, layout, tokenizer, form
        self._prefix, self._several = prefix, layout.pairs.several

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
                progress.update("aligning", int(rows.column(f"{self._prefix}asr_row")[-1].as_py()) + 1, total, tokens)

        written: Rows = (aligned_schema(self._layout.sides, pairs=self._several), tables())
        output.commit_shard(STAGE, index, {names.aligned(index): written}, {"rejects": rejected})

    def _batch(self, rows: pa.RecordBatch, scores: pa.RecordBatch, rejected: list[JsonValue]) -> tuple[pa.Table, int]:
        numbers = row_numbers(rows, self._prefix)
        if numbers != row_numbers(scores):
            raise CorruptFileError(f"data/ and scores/ hold different rows near input row {numbers[:1]}")
        kept: list[AlignedRecord] = []
        per_side = [byte_rewards(scores, side) for side in self._layout.sides]
        for position, ((index, pair), record) in enumerate(zip(numbers, records_of(rows), strict=True)):
            try:
                row = normalise(index, record, self._layout, pair)
                kept.append(self._row(row, [rewards[position] for rewards in per_side]))
            except RowRejected as error:
                rejected += rejects_json([RejectedRow(index, error.code, error.message, pair)])
        tokens = sum(len(side.ids) for row in kept for side in row.sides)
        return aligned_table(kept, self._layout.sides, pairs=self._several), tokens

    def _row(self, row: Row, rewards: Sequence[ByteRewards]) -> AlignedRecord:
        aligned = align(row, self._tokenizer)
        sides = [
            aligned_side(
                response, stored_rewards(given, completion.content), self._form, preferred=completion.preferred
            )
            for response, given, completion in zip(aligned.responses, rewards, row.completions, strict=True)
        ]
        return AlignedRecord(row.index, row.pair, aligned.prompt_ids, sides, self._notes(row, aligned, sides))

    def _notes(self, row: Row, aligned: AlignedRow, sides: Sequence[AlignedSide]) -> list[str]:
        notes = ["prompt_merged"] if aligned.prompt_merged else []
        if any(response.missing for response in aligned.responses):
            notes.append("text_not_in_template")
        pairs = zip(row.completions, sides, strict=True)
        if any(not has_only_content(one.content) and np.isnan(side.values).any() for one, side in pairs):
            notes.append("unscored_text")
        if self._tokenizer.date is not None and not isinstance(row.prompt, str):
            notes.append(f"{NOTE}:{self._tokenizer.date.isoformat()}")
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
    return AlignedSide(
        ids=np.array(response.ids, dtype=np.int32),
        text_start=text_start,
        values=values,
        spans=rewards.span_reward[rewards.span_end > 0].astype(np.float32),
        flags=token_flags(
            written=response.written,
            closing=response.closing,
            step_start=steps,
            text=response.covers,
            boundary=kinds,
        ),
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
