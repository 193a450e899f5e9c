"""The shards of a data set between the stages: what their files are called, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from asr_data.errors import CorruptFileError
from asr_data.storage import FileRecord
from asr_data.storage.output import OutputDirectory
from asr_data.storage.reader import AnnotatedDirectory, read_batches

BATCH_ROWS = 1_000


class ShardNames:
    """Where a stage's files lie: final (``data/…``) or intermediate."""

    def __init__(self, split: str, folder: str = "") -> None:
        self.split, self._folder = split, folder

    @classmethod
    def intermediate(cls, directory: OutputDirectory, split: str) -> ShardNames:
        """Those that last until the output is finished."""
        folder = directory.work_path("x").parent.relative_to(directory.path).as_posix()
        return cls(split, folder + "/")

    def rows(self, index: int) -> str:
        """The input rows, with masks once there are any."""
        return f"{self._folder}data/{self.split}-{index:05d}.parquet"

    def scores(self, index: int) -> str:
        """The rewards over bytes."""
        return f"{self._folder}scores/{self.split}-{index:05d}.parquet"

    def logprobs(self, index: int) -> str:
        """The reference's log-probabilities."""
        return f"{self._folder}logprobs/{self.split}-{index:05d}.parquet"

    def aligned(self, index: int) -> str:
        """Policy tokens and token rewards."""
        return f"{self._folder}aligned/{index:05d}.parquet"


class ScoredShards(Protocol):
    """Rows with their rewards over bytes, shard by shard."""

    shards: int

    def rows(self, index: int) -> Iterator[pa.RecordBatch]:
        """Input columns and ``asr_row``, ``BATCH_ROWS`` rows at a time."""

    def scores(self, index: int) -> Iterator[pa.RecordBatch]:
        """The ``scores`` columns of the same rows in the same batches."""

    def logprobs(self, index: int) -> Iterator[pa.RecordBatch]:
        """The ``logprobs`` columns, where a reference was asked for."""


class WorkShards:
    """Scored shards that a run keeps between its stages."""

    def __init__(self, directory: OutputDirectory, names: ShardNames, shards: int) -> None:
        self._path, self._names, self.shards = directory.path, names, shards

    def rows(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`ScoredShards`."""
        return read_batches(self._path / self._names.rows(index), BATCH_ROWS)

    def scores(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`ScoredShards`."""
        return read_batches(self._path / self._names.scores(index), BATCH_ROWS)

    def logprobs(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`ScoredShards`."""
        return read_batches(self._path / self._names.logprobs(index), BATCH_ROWS)


class FinishedShards:
    """The shards of a finished directory, each checked by SHA-256 when it is first read."""

    def __init__(self, directory: AnnotatedDirectory) -> None:
        self._directory = directory
        self._rows = directory.manifest.files_of("data")
        self._scores = directory.manifest.files_of("scores")
        self._logprobs = directory.manifest.files_of("logprobs")
        self.shards = len(self._rows)
        referred = self.shards if directory.manifest.reference is not None else 0
        if (len(self._scores), len(self._logprobs)) != (self.shards, referred):
            raise CorruptFileError(
                f"{directory.path}: the manifest lists {self.shards} files in data/, {len(self._scores)} in scores/, "
                f"and {len(self._logprobs)} in logprobs/"
            )

    def rows(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`ScoredShards`."""
        return self._read(self._rows[index])

    def scores(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`ScoredShards`."""
        return self._read(self._scores[index])

    def logprobs(self, index: int) -> Iterator[pa.RecordBatch]:
        """See :class:`ScoredShards`."""
        return self._read(self._logprobs[index])

    def _read(self, record: FileRecord) -> Iterator[pa.RecordBatch]:
        return self._directory.batches_of(record, BATCH_ROWS)
