"""What travels between ``align``, ``mask`` and ``evaluate``: responses over policy tokens with their rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from asr_data.masks.batch import TokenBatch
from asr_data.ragged import Ragged, interleaved, list_column
from asr_data.storage.row_keys import row_keys
from asr_data.types import Bool, ByteRewards, Float32, Int32, Side

_WRITTEN, _CLOSING, _STEP, _TEXT, _BOUNDARY_SHIFT = 1, 2, 4, 8, 4


@dataclass(frozen=True, slots=True)
class AlignedSide:
    """One response over its n policy tokens, as the ``align`` stage stores it.

    Attributes:
        ids: int32 ``[n]``, token ids.
        text_start: int32 ``[n]``, code point of the response text where each token starts.
        values: float32 ``[n]``, the scorer's rewards rounded to bfloat16; NaN where unknown.
        spans: float32, the rewards of the scorer's own spans, not rounded, without the one for the prompt.
        flags: int32 ``[n]``, made by :func:`token_flags`.
        initial: the value at the end of the prompt; NaN where the scorer gave none.
        reward: the scorer's own sequence score; NaN where it gave none.
        preferred: the verdict.
    """

    ids: Int32
    text_start: Int32
    values: Float32
    spans: Float32
    flags: Int32
    initial: float
    reward: float
    preferred: bool


@dataclass(frozen=True, slots=True)
class AlignedRecord:
    """One row over policy tokens.

    Attributes:
        index: the input row.
        pair: which pair of it; None where it is one.
        prompt_ids: token ids of the prompt.
        sides: its responses, in the order of the layout's sides.
        notes: codes for ``asr_notes``.
    """

    index: int
    pair: int | None
    prompt_ids: Sequence[int]
    sides: Sequence[AlignedSide]
    notes: Sequence[str]


def token_flags(*, written: Bool, closing: Bool, step_start: Bool, text: Bool, boundary: Any) -> Int32:
    """The facts about a token that ``align`` stores in one int32 ``[n]``; :func:`token_batch` reads them.

    Args:
        written: bool ``[n]``, the assistant wrote it.
        closing: bool ``[n]``, it ends a turn of the assistant's.
        step_start: bool ``[n]``, a step starts with it.
        text: bool ``[n]``, it holds text of the response.
        boundary: int8 ``[n]`` of ``asr_data.boundaries.BoundaryKind``.
    """
    flags: Int32 = (written * _WRITTEN + closing * _CLOSING + step_start * _STEP + text * _TEXT).astype(np.int32)
    return flags + (boundary.astype(np.int32) << _BOUNDARY_SHIFT)


def byte_rewards(scores: pa.RecordBatch, side: Side) -> list[ByteRewards]:
    """One side of a ``scores`` batch."""

    columns = [Ragged(scores.column(f"{side}_{name}")).arrays() for name in ("span_end", "span_reward", "step_end")]
    return [
        ByteRewards(end, reward, steps, own)
        for end, reward, steps, own in zip(*columns, scores.column(f"{side}_reward").to_pylist(), strict=True)
    ]


def aligned_schema(sides: Sequence[Side], *, pairs: bool) -> pa.Schema:
    """Columns of the intermediate files; ``pairs``: an input row can be several."""
    fields: list[pa.Field[Any]] = [
        pa.field("asr_row", pa.int64()),
        *([pa.field("asr_pair", pa.int32())] if pairs else []),
        pa.field("prompt_ids", pa.list_(pa.int32())),
        pa.field("notes", pa.list_(pa.string())),
    ]
    for side in sides:
        fields += [
            pa.field(f"{side}_ids", pa.list_(pa.int32())),
            pa.field(f"{side}_text_start", pa.list_(pa.int32())),
            pa.field(f"{side}_values", pa.list_(pa.float32())),
            pa.field(f"{side}_spans", pa.list_(pa.float32())),
            pa.field(f"{side}_flags", pa.list_(pa.int32())),
            pa.field(f"{side}_initial", pa.float32()),
            pa.field(f"{side}_reward", pa.float32()),
            pa.field(f"{side}_preferred", pa.bool_()),
        ]
    return pa.schema(fields)


def aligned_table(kept: Sequence[AlignedRecord], sides: Sequence[Side], *, pairs: bool) -> pa.Table:
    """Rows as the ``align`` stage stores them; :func:`token_batch` reads its batches."""
    columns: list[Any] = [
        pa.array([record.index for record in kept], type=pa.int64()),
        *([pa.array([record.pair for record in kept], type=pa.int32())] if pairs else []),
        pa.array([record.prompt_ids for record in kept], type=pa.list_(pa.int32())),
        pa.array([record.notes for record in kept], type=pa.list_(pa.string())),
    ]
    for position, _ in enumerate(sides):
        mine = [record.sides[position] for record in kept]
        columns += [
            list_column([s.ids for s in mine], pa.int32()),
            list_column([s.text_start for s in mine], pa.int32()),
            list_column([s.values for s in mine], pa.float32()),
            list_column([s.spans for s in mine], pa.float32()),
            list_column([s.flags for s in mine], pa.int32()),
            pa.array([s.initial for s in mine], type=pa.float32()),
            pa.array([s.reward for s in mine], type=pa.float32()),
            pa.array([s.preferred for s in mine], type=pa.bool_()),
        ]
    return pa.Table.from_arrays(columns, schema=aligned_schema(sides, pairs=pairs))


def token_batch(batch: pa.RecordBatch, sides: Sequence[Side]) -> TokenBatch:
    """An ``align`` batch as flat arrays, the responses of a row adjacent."""
    values, row_offsets = interleaved([batch.column(f"{side}_values") for side in sides])
    flags, _ = interleaved([batch.column(f"{side}_flags") for side in sides])
    spans, span_offsets = interleaved([batch.column(f"{side}_spans") for side in sides])
    return TokenBatch(
        values=values,
        row_offsets=row_offsets,
        written=(flags & _WRITTEN) > 0,
        end=(flags & _CLOSING) > 0,
        preferred=response_scalars(batch, sides, "preferred"),
        group=np.repeat(row_keys(batch), len(sides)),
        boundary=(flags >> _BOUNDARY_SHIFT).astype(np.int8),
        step_start=(flags & _STEP) > 0,
        initial=response_scalars(batch, sides, "initial"),
        scorer_reward=response_scalars(batch, sides, "reward"),
        text=(flags & _TEXT) > 0,
        span_reward=spans,
        span_offsets=span_offsets,
    )


def response_scalars(batch: pa.RecordBatch, sides: Sequence[Side], name: str) -> Any:
    """The column ``S_name`` of all sides, one value per response; the responses of a row are adjacent."""
    return np.stack([batch.column(f"{side}_{name}").to_numpy(zero_copy_only=False) for side in sides], axis=1).ravel()
