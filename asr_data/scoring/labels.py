"""``labels``: the data set's own labels are the rewards. What has no label is unknown, not good."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from asr_data.errors import RowRejected
from asr_data.response import content_spans, has_only_content, response_text
from asr_data.rows.labelled.criteria import combine
from asr_data.scoring.config import LabelsConfig
from asr_data.scoring.protocol import Scored, ScorerInfo
from asr_data.types import ByteRewards, Completion, Int32, Label, RejectedRow, Row, Text

RewardSpan: TypeAlias = tuple[int, int, float]
"""``(start, end, reward)``."""


class LabelScorer:
    """Gives each label's bytes its reward; see :class:`asr_data.scoring.protocol.Scorer`.

    A side without labels is unknown as a whole. A row is rejected where no side has any.

    Args:
        config: rewards by the labels' names; a label that it does not name keeps the reward of its format, or that of
            the weights by criterion.
    """

    def __init__(self, config: LabelsConfig) -> None:
        # Without weights the fingerprint is what it was before there were any.
        settings = config.model_dump(mode="json", exclude=None if config.criteria else {"criteria"})
        self.tokenizer = None
        self.info = ScorerInfo(
            name=config.kind,
            kind=config.kind,
            form=config.form,
            fingerprint=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
            settings=config.model_dump(mode="json", exclude_defaults=True),
            partial=True,
        )
        self._rewards, self._criteria = config.rewards, config.criteria

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:  # noqa: ARG002 - there are none
        """Score rows; see :class:`asr_data.scoring.protocol.Scorer`."""
        return [self._row(row) for row in rows]

    def _row(self, row: Row) -> Scored:
        if not any(completion.labels for completion in row.completions):
            return RejectedRow(row.index, "no_labels", "no response of this row has a label")
        try:
            return tuple(self._completion(completion) for completion in row.completions)
        except RowRejected as rejected:
            return RejectedRow(row.index, rejected.code, rejected.message)

    def _completion(self, completion: Completion) -> ByteRewards:
        text = _contents_in_place(completion.content)
        labels = completion.labels or ()
        spans = [(label.start, label.end, self._reward(label)) for label in labels]
        check_spans(spans, len(text), "label_mismatch")
        spans = _with_line_ends(spans, text)
        return spans_to_rewards(spans, len(text), _step_ends([span[:2] for span in spans], text))

    def _reward(self, label: Label) -> float:
        if label.name in self._rewards or not self._criteria:
            return self._rewards.get(label.name, label.reward)
        if not label.scores:
            raise RowRejected(
                "label_mismatch", f"criteria are weighed, but the label {label.name!r} has no scores by them"
            )
        return combine(label.scores, self._criteria)


def _contents_in_place(content: Text) -> bytes:
    """The response text with spaces for everything but the contents, which alone have labels."""
    text = response_text(content).encode()
    if has_only_content(content):
        return text
    out = bytearray(b" " * len(text))
    for start, end in content_spans(content):
        out[start:end] = text[start:end]
    return bytes(out)


def check_spans(spans: Sequence[RewardSpan], length: int, code: str) -> None:
    """Refuse spans that are empty, reach out of ``[0, length)`` or overlap, and rewards that are not numbers.

    Raises:
        RowRejected: ``code`` or ``non_finite_reward``.
    """
    position = 0
    for start, end, reward in spans:
        if not position <= start < end <= length:
            message = f"the span [{start}, {end}) is empty, overlaps the one before, or is not within [0, {length})"
            raise RowRejected(code, message)
        if not math.isfinite(reward):
            raise RowRejected("non_finite_reward", f"the span [{start}, {end}) has the reward {reward}")
        position = end


def spans_to_rewards(spans: Sequence[RewardSpan], size: int, step_end: Int32) -> ByteRewards:
    """Rewards of a response of ``size`` bytes from spans that were checked; what lies between them is unknown (NaN)."""
    ends: list[int] = []
    rewards: list[float] = []
    position = 0
    for start, end, reward in spans:
        if start > position:
            ends.append(start)
            rewards.append(math.nan)
        ends.append(end)
        rewards.append(reward)
        position = end
    if position < size:
        ends.append(size)
        rewards.append(math.nan)
    with np.errstate(over="ignore"):  # beyond float32 it becomes infinite, which is refused later
        return ByteRewards(np.array(ends, dtype=np.int32), np.array(rewards, dtype=np.float32), step_end)


def _with_line_ends(spans: Sequence[RewardSpan], text: bytes) -> list[RewardSpan]:
    """Spans with the line ends after them: what stands between two steps belongs to the first of them."""
    out = []
    for place, (start, end, reward) in enumerate(spans, start=1):
        following = spans[place][0] if place < len(spans) else len(text)
        gap = text[end:following]
        out.append((start, following if b"\n" in gap and not gap.strip() else end, reward))
    return out


def _step_ends(spans: Sequence[tuple[int, int]], text: bytes) -> Int32:
    """Where two or more labels follow each other from the start of the text on, each is a step.

    White space may stand before and between them. Formats that stop at the first error leave a tail without labels,
    which counts as one step more.
    """
    gaps = [text[: spans[0][0]], *(text[a[1] : b[0]] for a, b in pairwise(spans))] if len(spans) > 1 else [b"?"]
    if any(gap.strip() for gap in gaps):
        return np.zeros(0, dtype=np.int32)
    begins = [start for start, _ in spans[1:]]
    return np.array(sorted({*begins, spans[-1][1], len(text)}), dtype=np.int32)
