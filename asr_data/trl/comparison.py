"""Which of two answers to a prompt is better: by a reward model, or by judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow.parquet as pq

from asr_data.errors import OutputExistsError
from asr_data.judging import Judge, RequestSettings, answers_layout, judge
from asr_data.judging.figures import POINTS
from asr_data.judging.output import FILES
from asr_data.rows import open_source
from asr_data.scoring import Scorer
from asr_data.storage.commit import commit_bytes
from asr_data.types import ByteRewards, Completion, RejectedRow, RewardForm, Row, Side, Text

WIN: Final = 1.0
TIE: Final = 0.5
LOSS: Final = 0.0


@dataclass(frozen=True, slots=True)
class Answers:
    """Two answers to one prompt.

    Attributes:
        prompt: a string, or messages.
        policy, reference: the answers' texts.
    """

    prompt: Text
    policy: str
    reference: str

    @property
    def settled(self) -> float | None:
        """The points that need no comparison: equal texts tie, an answer without text loses; else None."""
        if self.policy == self.reference:
            return TIE
        written = bool(self.policy.strip()), bool(self.reference.strip())
        return {(True, True): None, (False, False): TIE, (True, False): WIN, (False, True): LOSS}[written]

    def content(self, text: str) -> Text:
        """An answer of the prompt's kind: a string, or an assistant's message."""
        return text if isinstance(self.prompt, str) else [{"role": "assistant", "content": text}]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the policy's answer compares.

    Attributes:
        points: 1 where it is better, 0 where the reference's is, 0.5 for a tie; None where that is not known.
        policy_reward, reference_reward: of the answers, where a reward model gave them.
    """

    points: float | None
    policy_reward: float | None = None
    reference_reward: float | None = None


class Comparer(Protocol):
    """Anything that can tell which of two answers is better."""

    def compare(self, answers: Sequence[Answers], folder: Path) -> list[Comparison]:
        """One entry for each, in order.

        Args:
            answers: both answers have text, and differ.
            folder: files may be left there.
        """
        ...


@dataclass(frozen=True, slots=True)
class ByScorer:
    """The answer with the higher reward is better.

    An answer's reward is the scorer's own for a sequence; without one, the mean of its values over the text's bytes,
    or the sum of its increments. Rows that the scorer refuses are not known.

    Attributes:
        scorer: :func:`asr_data.load_scorer` gives one.
    """

    scorer: Scorer

    def compare(self, answers: Sequence[Answers], folder: Path) -> list[Comparison]:  # noqa: ARG002 - the protocol's
        """See :class:`Comparer`."""
        scored = self.scorer.score([_row(index, one) for index, one in enumerate(answers)])
        return [self._comparison(found) for found in scored]

    def _comparison(self, found: tuple[ByteRewards, ...] | RejectedRow) -> Comparison:
        if isinstance(found, RejectedRow):
            return Comparison(None)
        policy, reference = (sequence_value(rewards, self.scorer.info.form) for rewards in found)
        if policy is None or reference is None:
            return Comparison(None)
        return Comparison(WIN if policy > reference else LOSS if policy < reference else TIE, policy, reference)


def sequence_value(rewards: ByteRewards, form: RewardForm) -> float | None:
    """One number for a response: its own reward, else the byte-weighted mean of values, or the sum of increments.

    None where nothing is known. The value at the end of the prompt, a first span that ends at 0, is no part of it.
    """
    if rewards.reward is not None:
        return float(rewards.reward)
    sizes = np.diff(rewards.span_end, prepend=0)
    known = (sizes > 0) & ~np.isnan(rewards.span_reward)
    if not known.any():
        return None
    values = rewards.span_reward[known].astype(np.float64)
    return float(values.sum() if form == "increment" else np.average(values, weights=sizes[known]))


def _row(index: int, answers: Answers) -> Row:
    sides: tuple[tuple[Side, str], ...] = (("chosen", answers.policy), ("rejected", answers.reference))
    completions = tuple(Completion(side, answers.content(text), preferred=side == "chosen") for side, text in sides)
    return Row(index, {}, answers.prompt, completions)


@dataclass(frozen=True, slots=True)
class ByJudges:
    """The majority of judges decides, each asked in both orders (:func:`asr_data.judging.judge`).

    Undecided pairs count half, as there. Verdicts are kept in ``judge/`` of the folder; the same answers are not asked
    about twice.

    Attributes:
        judges: the models to ask.
        requests: how requests are made.
    """

    judges: tuple[Judge, ...]
    requests: RequestSettings = RequestSettings()  # noqa: RUF009 - frozen

    def compare(self, answers: Sequence[Answers], folder: Path) -> list[Comparison]:
        """See :class:`Comparer`.

        Raises:
            JudgeError: requests failed after all retries; verdicts so far are kept.
        """
        asked = folder / "asked.jsonl"
        lines = (
            {"prompt": one.prompt, "policy": one.content(one.policy), "reference": one.content(one.reference)}
            for one in answers
        )
        commit_bytes(asked, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        source = open_source(asked)
        layout = answers_layout(source, "policy", "reference")
        output = folder / "judge"
        try:
            judge(source, layout, output, self.judges, requests=self.requests)
        except OutputExistsError:  # verdicts on other answers: the step was done before, from another state
            judge(source, layout, output, self.judges, requests=self.requests, overwrite=True)
        decided = pq.read_table(output / FILES["default"], columns=["row", "decision"])
        points = {row["row"]: POINTS[row["decision"]] for row in decided.to_pylist()}
        return [Comparison(points.get(index)) for index in range(len(answers))]
