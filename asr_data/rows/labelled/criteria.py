"""Scores by several criteria for each sentence, and the reward that they make together (paper, appendix A.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from asr_data.errors import RowRejected
from asr_data.rows.labelled.spans import LabelledSpan, byte_labels
from asr_data.rows.labelled.values import mismatch
from asr_data.types import CRITERIA, Criterion, Label

QUALITY: Final[Mapping[Criterion, float]] = {"helpfulness": 1.0, "correctness": 1.0, "coherence": 1.0}
"""The weights by default. More complexity or verbosity is not better, so that these two describe and do not judge."""

HIGHEST: Final = 4.0
"""The best score; the worst one is 0."""


def combine(scores: Sequence[float], weights: Mapping[Criterion, float] = QUALITY) -> float:
    """One reward from 0 to 1: the weighted mean of the scores.

    Args:
        scores: from 0 to 1: one for each of ``CRITERIA``, or of as many others as the data has.
        weights: criterion → weight. A negative weight counts how far the score is from the best one. Scores that
            are not of ``CRITERIA`` have no names: with the default their mean is taken.

    Raises:
        RowRejected: ``label_mismatch`` for weights other than the default where the scores have no names.
    """
    if len(scores) != len(CRITERIA):
        if weights is not QUALITY:
            mismatch(f"{len(scores)} scores by criteria without names; {len(CRITERIA)} are by {', '.join(CRITERIA)}")
        return sum(scores) / len(scores)
    named = dict(zip(CRITERIA, scores, strict=True))
    parts = [abs(weight) * (named[name] if weight > 0 else 1 - named[name]) for name, weight in weights.items()]
    return sum(parts) / sum(map(abs, weights.values()))


def sentence_labels(
    response: str, lists: Sequence[Any], place: str, low: float = 0.0, high: float = HIGHEST
) -> tuple[Label, ...]:
    """One label per sentence, without the white space after it; a sentence with a null among its scores has none.

    Args:
        response: the text.
        lists: criteria × sentences.
        place: the column, for messages.
        low, high: the scale of the scores.

    Raises:
        RowRejected: ``empty_response``, or ``label_mismatch`` where the scores do not fit the sentences or their scale.
    """
    from asr_data.boundaries import sentence_spans  # compiled code: not for every command

    if not response.strip():
        raise RowRejected("empty_response", "the response is empty or nothing but white space")
    sentences = sentence_spans(response)
    if not lists or any(not isinstance(scores, list | tuple) for scores in lists):
        mismatch(f"{place} is not a list of scores, or one for each criterion")
    if any(len(scores) != len(sentences) for scores in lists):
        counts = ", ".join(str(len(scores)) for scores in lists)
        mismatch(f"{place}: {counts} scores for {len(sentences)} sentences; see docs/data.md for where sentences end")
    spans: list[tuple[LabelledSpan, tuple[float, ...]]] = []
    for (start, end), scores in zip(sentences, zip(*lists, strict=True), strict=True):
        if None not in scores:
            shares = tuple(_share(score, place, low, high) for score in scores)
            text = response[start:end]
            first = start + len(text) - len(text.lstrip())
            span = first, first + len(text.strip()), combine(shares), ",".join(map(str, scores))
            spans.append((span, shares))
    return labels_with_scores(response, spans)


def labels_with_scores(response: str, spans: Sequence[tuple[LabelledSpan, tuple[float, ...]]]) -> tuple[Label, ...]:
    """Labels of spans in characters, each with its scores by criterion."""
    labels = byte_labels(response, [span for span, _ in spans])
    return tuple(replace(label, scores=scores) for label, (_, scores) in zip(labels, spans, strict=True))


def _share(score: Any, place: str, low: float, high: float) -> float:
    """A score as its place on the scale, from 0 to 1."""
    number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
    if not number or not low <= score <= high:
        mismatch(f"{place}: a score is {score!r}, not a number from {low:g} to {high:g}")
    return (float(score) - low) / (high - low)
