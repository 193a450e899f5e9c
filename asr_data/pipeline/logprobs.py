"""Stage ``logprobs``: scored rows to the reference model's log-probabilities of their policy tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from asr_data.errors import RowRejected
from asr_data.pipeline.measured import measured_json
from asr_data.pipeline.shard_files import ScoredShards, ShardNames
from asr_data.progress import Progress
from asr_data.ragged import list_column
from asr_data.rows import Layout, normalise, records_of
from asr_data.storage import ReferenceRecord, TokenizerRecord
from asr_data.storage.output import OutputDirectory
from asr_data.storage.row_keys import row_numbers
from asr_data.text.align import AlignedRow, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Float32
from asr_data_schemas import logprobs_schema

STAGE = "logprobs"


class LogProbabilities(Protocol):
    """A reference model, such as :class:`asr_data.scoring.reference.ReferenceModel`, whose attributes these are."""

    @property
    def name(self) -> str: ...  # noqa: D102 - the class says it

    @property
    def fingerprint(self) -> str: ...  # noqa: D102 - the class says it

    @property
    def tokenizer(self) -> Tokenizer: ...  # noqa: D102 - the class says it

    @property
    def dtype(self) -> str: ...  # noqa: D102 - the class says it

    def log_probabilities(
        self, rows: Sequence[AlignedRow], on_tokens: Callable[[int], None] | None = None
    ) -> list[list[Float32] | None]:
        """``log π_ref`` of each response token, for each row's responses; None where it cannot read the row."""
        ...


def reference_record(reference: LogProbabilities) -> ReferenceRecord:
    """What the manifest says of a reference."""
    tokenizer = TokenizerRecord(name=reference.tokenizer.name, fingerprint=reference.tokenizer.fingerprint)
    return ReferenceRecord(
        name=reference.name, fingerprint=reference.fingerprint, tokenizer=tokenizer, dtype=reference.dtype
    )


class LogprobStage:
    """Runs the reference over scored rows; a row that it cannot read gets null."""

    def __init__(self, shards: ScoredShards, layout: Layout, reference: LogProbabilities, *, prefix: str) -> None:
        self._shards, self._layout, self._reference, self._prefix = shards, layout, reference, prefix
        self._schema = logprobs_schema(layout.sides, pairs=layout.pairs.several)

    def work(
        self, output: OutputDirectory, names: ShardNames, shards: Sequence[int], total: int, progress: Progress
    ) -> None:
        """Those of the shards that are not committed yet."""
        for index in shards:
            if output.committed(STAGE, index) is None:
                extra: dict[str, JsonValue] = {}  # known once the rows are
                rows = (self._schema, self._tables(index, total, progress, extra))
                output.commit_shard(STAGE, index, {names.logprobs(index): rows}, extra)

    def _tables(self, index: int, total: int, progress: Progress, extra: dict[str, JsonValue]) -> Iterator[pa.Table]:
        tokens = 0

        def on_tokens(count: int) -> None:
            nonlocal tokens
            tokens += count

        for batch in self._shards.rows(index):
            numbers = row_numbers(batch, self._prefix)
            aligned = [
                self._aligned(*number, record) for number, record in zip(numbers, records_of(batch), strict=True)
            ]
            found = self._reference.log_probabilities([row for row in aligned if row is not None], on_tokens)
            extra.update(measured_json(self._reference))
            answers = iter(found)
            rows = [None if row is None else next(answers) for row in aligned]
            yield self._table(numbers, rows)
            if numbers:
                progress.update("reference log-probabilities", numbers[-1][0] + 1, total, tokens)

    def _aligned(self, index: int, pair: int | None, record: Mapping[str, Any]) -> AlignedRow | None:
        try:
            return align(normalise(index, record, self._layout, pair), self._reference.tokenizer)
        except RowRejected:
            return None  # the align stage rejects it, with the reason

    def _table(self, numbers: Sequence[tuple[int, int | None]], rows: Sequence[list[Float32] | None]) -> pa.Table:
        sides = self._layout.sides
        columns: list[Any] = [pa.array([index for index, _ in numbers], type=pa.int64())]
        if self._layout.pairs.several:
            columns.append(pa.array([pair for _, pair in numbers], type=pa.int32()))
        columns += [
            list_column([None if row is None else _not_above_zero(row[side]) for row in rows], pa.float32())
            for side in range(len(sides))
        ]
        return pa.Table.from_arrays(columns, schema=self._schema)


def _not_above_zero(values: Float32) -> Float32:
    """Rounding may leave the log-probability of a certain token slightly above 0."""
    return np.minimum(values, np.float32(0))
