"""What is done to a shard without a look at any other: scores, the reference's log-probabilities, policy tokens.

So any number of processes can share a data set's shards, and each shard's files are the same whoever makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from asr_data.config import OutputConfig
from asr_data.pipeline import aligning, logprobs, scoring
from asr_data.pipeline.aligning import AlignStage
from asr_data.pipeline.logprobs import LogprobStage
from asr_data.pipeline.scoring import ScoreStage
from asr_data.pipeline.shards import ShardNames, WorkShards
from asr_data.pipeline.summary import Progress
from asr_data.rows import Layout, Source
from asr_data.scoring.protocol import Scorer
from asr_data.storage.output import OutputDirectory
from asr_data.text.tokenizer import Tokenizer

if TYPE_CHECKING:  # loads torch
    from asr_data.scoring.reference import Reference


class ShardWork:
    """The stages that go shard by shard, over whichever shards are asked for.

    Args:
        source: the input.
        layout: how its rows are read.
        scorer: the reward model.
        reference: gives log-probabilities, if any are wanted.
        policy: the tokenizer to align to; None where masks are not wanted, and the shards' files are final.
        writing: how they are written.
        run: the value of ``asr_run``.
    """

    def __init__(
        self,
        source: Source,
        layout: Layout,
        scorer: Scorer,
        reference: Reference | None,
        policy: Tokenizer | None,
        writing: OutputConfig,
        run: str,
    ) -> None:
        self._source, self._layout, self._reference, self._policy = source, layout, reference, policy
        self._writing = writing
        self._score = ScoreStage(source, layout, scorer, prefix=writing.prefix, run=run, shard_rows=writing.shard_rows)
        self.shards = self._score.shards

    @property
    def tokens(self) -> int:
        """Scored by this process so far."""
        return self._score.tokens

    def work(self, directory: OutputDirectory, shards: Sequence[int], progress: Progress) -> None:
        """Do what is not committed yet of these shards."""
        names, total = self._names(directory), self._source.rows
        index_column = f"{self._writing.prefix}asr_row"
        scored = self.scored(directory)
        self._score.work(directory, names, shards, progress)
        if self._reference is not None:
            stage = LogprobStage(scored, self._layout, self._reference, index_column=index_column)
            stage.work(directory, names, shards, total, progress)
        if self._policy is not None:
            form = self._score.form
            align = AlignStage(scored, self._layout, self._policy, form, index_column=index_column)
            align.work(directory, names, shards, total, progress)

    def scored(self, directory: OutputDirectory) -> WorkShards:
        """The scored shards in the directory."""
        return WorkShards(directory, self._names(directory), self.shards)

    def _names(self, directory: OutputDirectory) -> ShardNames:
        split = self._writing.split
        return ShardNames(split) if self._policy is None else ShardNames.intermediate(directory, split)


def stages_apart(*, reference: bool, masked: bool) -> list[str]:
    """The stages that :class:`ShardWork` commits, in order."""
    return [scoring.STAGE, *([logprobs.STAGE] if reference else []), *([aligning.STAGE] if masked else [])]
