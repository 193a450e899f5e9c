"""What is done to each shard independently: scores, the reference's log-probabilities, policy tokens.

Any number of processes can share the shards of a data set: a shard's files are the same whoever makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from asr_data.pipeline import aligning, logprobs, scoring
from asr_data.pipeline.aligning import AlignStage
from asr_data.pipeline.logprobs import LogProbabilities, LogprobStage
from asr_data.pipeline.scoring import ScoreStage
from asr_data.pipeline.shard_files import ShardNames, WorkShards
from asr_data.progress import Progress
from asr_data.rows import Source
from asr_data.scoring.protocol import Scorer
from asr_data.storage.output import OutputDirectory
from asr_data.storage.plan import Plan
from asr_data.text.clock import settle_date
from asr_data.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class ShardJob:
    """What to do with each shard of a data set. Holds no model, so that it can be sent to other processes.

    Attributes:
        source: the input.
        plan: of the output.
        policy: the tokenizer to align to; None where no masks are asked for, and the shards' files are final.
    """

    source: Source
    plan: Plan
    policy: Tokenizer | None

    @property
    def stages(self) -> list[str]:
        """The stages that each shard goes through, in order."""
        return stages_of_shard(self.plan)

    def rows(self, shards: range) -> range:
        """The input rows of consecutive shards."""
        size, total = self.plan.output.shard_rows, self.plan.input.rows
        return range(shards.start * size, max(shards.start * size, min(shards.stop * size, total)))

    def names(self, directory: OutputDirectory) -> ShardNames:
        """Where the shards' files lie."""
        split = self.plan.output.split
        return ShardNames(split) if self.policy is None else ShardNames.intermediate(directory, split)

    def scored(self, directory: OutputDirectory) -> WorkShards:
        """The scored shards in the directory."""
        return WorkShards(directory, self.names(directory), self.plan.shards)


class ShardPool(Protocol):
    """Processes that work on shards.

    Attributes:
        tokens: prompt and response tokens scored so far.
    """

    tokens: int

    def work(self, job: ShardJob, directory: OutputDirectory, shards: Sequence[int], progress: Progress) -> None:
        """Do those of the shards that are not committed yet; returns when all of them are."""


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
        plan, names, scored = job.plan, job.names(directory), job.scored(directory)
        if plan.template_date is not None:
            reference = None if self._reference is None else self._reference.tokenizer
            settle_date((self._scorer.tokenizer, reference, job.policy), plan.template_date)
        layout, total = plan.layout, plan.input.rows
        score = ScoreStage(
            job.source,
            layout,
            self._scorer,
            prefix=plan.output.prefix,
            run=plan.run_id,
            shard_rows=plan.output.shard_rows,
        )
        score.work(directory, names, shards, progress)
        self.tokens += score.tokens
        if self._reference is not None:
            stage = LogprobStage(scored, layout, self._reference, prefix=plan.output.prefix)
            stage.work(directory, names, shards, total, progress)
        if job.policy is not None:
            align = AlignStage(scored, layout, job.policy, plan.scorer.form, prefix=plan.output.prefix)
            align.work(directory, names, shards, total, progress)


def stages_of_shard(plan: Plan) -> list[str]:
    """The stages that a pool commits for each shard, in order."""
    reference = [] if plan.reference is None else [logprobs.STAGE]
    return [scoring.STAGE, *reference, *([] if plan.mask is None else [aligning.STAGE])]
