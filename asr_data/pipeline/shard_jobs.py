"""What is done to a shard without a look at any other: scores, the reference's log-probabilities, policy tokens.

So any number of processes can share a data set's shards, and each shard's files are the same whoever makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from asr_data.config import OutputConfig
from asr_data.pipeline import aligning, logprobs, scoring
from asr_data.pipeline.aligning import AlignStage
from asr_data.pipeline.logprobs import LogProbabilities, LogprobStage
from asr_data.pipeline.scoring import ScoreStage
from asr_data.pipeline.shard_files import ShardNames, WorkShards
from asr_data.progress import Progress
from asr_data.rows import Layout, Source
from asr_data.scoring.protocol import Scorer
from asr_data.storage.output import OutputDirectory
from asr_data.text.clock import settle_date
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import RewardForm


@dataclass(frozen=True, slots=True)
class ShardJob:
    """What is to be done, without the models that do it; another process can be given it.

    Attributes:
        source: the input.
        layout: how its rows are read.
        policy: the tokenizer to align to; None where masks are not wanted, and the shards' files are final.
        writing: how they are written.
        run: the value of ``asr_run``.
        form: what the scorer gives.
        reference: whether the reference's log-probabilities are wanted.
        template_date: what chat templates that ask for the date are told.
    """

    source: Source
    layout: Layout
    policy: Tokenizer | None
    writing: OutputConfig
    run: str
    form: RewardForm
    reference: bool
    template_date: date | None = None

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.source.rows // self.writing.shard_rows)

    @property
    def stages(self) -> list[str]:
        """The stages that each shard goes through, in order."""
        return stages_apart(reference=self.reference, masked=self.policy is not None)

    def rows(self, shards: range) -> range:
        """The input rows of consecutive shards."""
        size = self.writing.shard_rows
        return range(shards.start * size, max(shards.start * size, min(shards.stop * size, self.source.rows)))

    def names(self, directory: OutputDirectory) -> ShardNames:
        """Where the shards' files lie."""
        split = self.writing.split
        return ShardNames(split) if self.policy is None else ShardNames.intermediate(directory, split)

    def scored(self, directory: OutputDirectory) -> WorkShards:
        """The scored shards in the directory."""
        return WorkShards(directory, self.names(directory), self.shards)


class ShardPool(Protocol):
    """Who does shards.

    Attributes:
        tokens: scored so far.
    """

    tokens: int

    def work(self, job: ShardJob, directory: OutputDirectory, shards: Sequence[int], progress: Progress) -> None:
        """Do what is not committed yet of these shards; returns when all are."""


class LocalPool:
    """This process, with the models it has loaded.

    Args:
        scorer: the reward model.
        reference: gives log-probabilities, if the job wants them.
    """

    def __init__(self, scorer: Scorer, reference: LogProbabilities | None) -> None:
        self._scorer, self._reference = scorer, reference
        self.tokens = 0

    def work(self, job: ShardJob, directory: OutputDirectory, shards: Sequence[int], progress: Progress) -> None:
        """See :class:`ShardPool`."""
        if job.template_date is not None:
            reference = None if self._reference is None else self._reference.tokenizer
            settle_date((self._scorer.tokenizer, reference, job.policy), job.template_date)
        names, total, writing = job.names(directory), job.source.rows, job.writing
        index_column = f"{writing.prefix}asr_row"
        scored = job.scored(directory)
        score = ScoreStage(
            job.source, job.layout, self._scorer, prefix=writing.prefix, run=job.run, shard_rows=writing.shard_rows
        )
        score.work(directory, names, shards, progress)
        self.tokens += score.tokens
        if self._reference is not None:
            stage = LogprobStage(scored, job.layout, self._reference, index_column=index_column)
            stage.work(directory, names, shards, total, progress)
        if job.policy is not None:
            align = AlignStage(scored, job.layout, job.policy, job.form, index_column=index_column)
            align.work(directory, names, shards, total, progress)


def stages_apart(*, reference: bool, masked: bool) -> list[str]:
    """The stages that a pool commits, in order."""
    return [scoring.STAGE, *([logprobs.STAGE] if reference else []), *([aligning.STAGE] if masked else [])]
