"""One row of each kind of training data, turned into examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_data.training.examples import (
    Label,
    LabelledExample,
    LabelledResponse,
    PreferenceExample,
    group_of,
    labels_from_characters,
    response_text,
)
from asr_data.training.fields import (
    Fields,
    UnusableRow,
    encodable,
    field,
    is_transcript,
    list_field,
    number,
    prompt_messages,
    response_messages,
    transcript_messages,
    without_common_turns,
)
from asr_data.training.sentences import split_sentences
from asr_data.types import Message, Text


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a source declares about all its rows.

    Attributes:
        name: name of the source.
        score_range: lowest and highest sentence score.
        first_error_only: nothing is known after a response's first bad step.
    """

    name: str
    score_range: tuple[float, float] = (0.0, 4.0)
    first_error_only: bool = False


@dataclass(frozen=True, slots=True)
class RowExamples:
    """The examples of one row."""

    preferences: tuple[PreferenceExample, ...] = ()
    labelled: tuple[LabelledExample, ...] = ()


# --- preference pairs ------------------------------------------------------------------------------------


def read_preference(row: Fields, options: ReadOptions) -> RowExamples:  # noqa: ARG001 - one signature for all
    """Read a preference pair: two hh-rlhf transcripts, or a prompt and two responses."""
    return RowExamples(preferences=(_pair(row),))


def _pair(row: Fields) -> PreferenceExample:
    if row.get("prompt") is None and is_transcript(row.get("chosen")):
        prompt, chosen, rejected = without_common_turns(
            transcript_messages(field(row, "chosen"), "chosen"),
            transcript_messages(str(field(row, "rejected")), "rejected"),
        )
    else:
        prompt = prompt_messages(row)
        chosen, rejected = response_messages(row, "chosen"), response_messages(row, "rejected")
    if chosen == rejected:
        raise UnusableRow("identical_sides", "chosen and rejected are the same")
    return PreferenceExample(_group(row, prompt), prompt, chosen, rejected)


def _group(row: Fields, prompt: Sequence[Message]) -> str:
    """Return the row's question.

    PRMBench asks one problem in several wordings, one for each type of planted error, and says so in the id
    alone: ``<problem>-<error type>``. Grouped by prompt, a rewording could be held out and its twin not.
    """
    identity, suffix = row.get("id"), f"-{row.get('error_type')}"
    if isinstance(identity, str) and identity.endswith(suffix) and identity != suffix:
        return group_of(identity.removesuffix(suffix))
    return group_of(prompt)


# --- error spans -----------------------------------------------------------------------------------------


def read_spans(row: Fields, options: ReadOptions) -> RowExamples:
    """Read a pair with faulty spans, in code points of the response text.

    ``labelled_side`` and ``error_spans``: that side alone was looked at (FineGrainedRLHF).
    ``fault_spans``: the spans are the rejected side's, and the chosen side is known to be good.
    """
    pair = _pair(row)
    sides: tuple[tuple[Text, list[tuple[int, int]]], ...]
    if "fault_spans" in row:
        spans = _spans(row, "fault_spans", pair.rejected)
        sides = ((pair.chosen, []), (pair.rejected, spans))
    else:
        side = field(row, "labelled_side")
        if side not in ("chosen", "rejected"):
            raise UnusableRow("unknown_side", f"labelled_side is {side!r}; allowed are chosen and rejected")
        content = pair.chosen if side == "chosen" else pair.rejected
        sides = ((content, _spans(row, "error_spans", content)),)
    labelled = tuple(
        LabelledExample(pair.group, pair.prompt, LabelledResponse(content, _span_labels(content, spans)), options.name)
        for content, spans in sides
    )
    return RowExamples((pair,), labelled)


def _spans(row: Fields, name: str, content: Text) -> list[tuple[int, int]]:
    """Return the faulty spans, sorted, with those that touch or overlap made one."""
    values = field(row, name)
    if not isinstance(values, list):
        raise UnusableRow("not_a_list", f"{name!r} must be a list, not {values!r:.80}")
    length = len(response_text(content))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(_span(value, name, length) for value in values):
        if merged and start <= merged[-1][1]:
            start, end = merged[-1][0], max(end, merged[-1][1])
            merged.pop()
        merged.append((start, end))
    return merged


def _span(value: Any, name: str, length: int) -> tuple[int, int]:
    edges = (value.get("start"), value.get("end")) if isinstance(value, Mapping) else value
    if not isinstance(edges, Sequence) or len(edges) != 2 or any(type(edge) is not int for edge in edges):
        raise UnusableRow("bad_span", f"{name!r} holds {value!r:.80}, not an object with start and end")
    start, end = edges
    if not 0 <= start < end <= length:
        raise UnusableRow("bad_span", f"{name!r} holds [{start}, {end}) in a text of {length} characters")
    return start, end


def _span_labels(content: Text, faults: list[tuple[int, int]]) -> tuple[Label, ...]:
    """Return labels that cover the whole text: 0 in the faults, 1 between them."""
    text = response_text(content)
    parts: list[tuple[int, int, float]] = []
    position = 0
    for start, end in faults:
        if position < start:
            parts.append((position, start, 1.0))
        parts.append((start, end, 0.0))
        position = end
    if position < len(text):
        parts.append((position, len(text), 1.0))
    return labels_from_characters(text, parts)


# --- step labels -----------------------------------------------------------------------------------------


def read_steps(row: Fields, options: ReadOptions) -> RowExamples:
    """Read step labels: PRMBench pairs, or TRL stepwise supervision.

    ``rejected_error_steps`` counts from 1. In ``labels`` null is unknown. ``first_error_step`` (from 1; 0 for
    none) in the place of ``labels`` marks the first bad step alone, and what follows it is unknown.
    """
    prompt = prompt_messages(row)
    if "rejected_error_steps" in row:
        chosen, rejected = _steps(row, "chosen"), _steps(row, "rejected")
        faulty = _step_numbers(row, len(rejected))
        targets = [0.0 if number_ in faulty else 1.0 for number_ in range(1, len(rejected) + 1)]
        sides: list[tuple[list[str], list[float | None]]] = [
            (chosen, [1.0] * len(chosen)),
            (rejected, _until_first_error(targets) if options.first_error_only else list(targets)),
        ]
    else:
        steps = _steps(row, "completions")
        sides = [(steps, _stepwise_targets(row, len(steps), options))]
    group = _group(row, prompt)
    labelled = tuple(
        LabelledExample(group, prompt, _step_response(steps, targets_), options.name) for steps, targets_ in sides
    )
    return RowExamples(labelled=labelled)


def _steps(row: Fields, name: str) -> list[str]:
    steps = list_field(row, name)
    if not all(isinstance(step, str) and step.strip() for step in steps):
        raise UnusableRow("empty_step", f"{name!r} holds a step that is empty or not a string")
    return [encodable(step, name) for step in steps]


def _step_numbers(row: Fields, steps: int) -> frozenset[int]:
    numbers = list_field(row, "rejected_error_steps")
    if any(type(value) is not int or not 1 <= value <= steps for value in numbers):
        raise UnusableRow("bad_step_number", f"rejected_error_steps is {numbers}; allowed are 1 to {steps}")
    return frozenset(numbers)


def _stepwise_targets(row: Fields, steps: int, options: ReadOptions) -> list[float | None]:
    if "first_error_step" in row:
        first = field(row, "first_error_step")
        if type(first) is not int or not 0 <= first <= steps:
            raise UnusableRow("bad_step_number", f"first_error_step is {first!r}; allowed are 0 to {steps}")
        return _until_first_error([0.0 if index == first else 1.0 for index in range(1, steps + 1)])
    labels = list_field(row, "labels")
    if len(labels) != steps:
        raise UnusableRow("label_count", f"{len(labels)} labels for {steps} steps")
    if not all(label is None or label in (0, 1) for label in labels):
        raise UnusableRow("bad_label", f"labels are {labels}; allowed are true, false and null")
    targets = [None if label is None else float(label) for label in labels]
    return _until_first_error(targets) if options.first_error_only else targets


def _until_first_error(targets: Sequence[float | None]) -> list[float | None]:
    """Return the targets with everything after the first bad step unknown."""
    known = targets.index(0.0) + 1 if 0.0 in targets else len(targets)
    return [*targets[:known], *[None] * (len(targets) - known)]


def _step_response(steps: list[str], targets: Sequence[float | None]) -> LabelledResponse:
    """Join the steps by newlines, which belong to no step and carry no label."""
    labels: list[Label] = []
    start = 0
    for step, target in zip(steps, targets, strict=True):
        end = start + len(step.encode("utf-8"))
        if target is not None:
            labels.append(Label(start, end, target))
        start = end + 1
    if not labels:
        raise UnusableRow("no_known_label", "no step of the response has a label")
    return LabelledResponse([{"role": "assistant", "content": "\n".join(steps)}], tuple(labels))


# --- sentence scores -------------------------------------------------------------------------------------


def read_sentence_scores(row: Fields, options: ReadOptions) -> RowExamples:
    """Read one score per sentence, or criteria × sentences, which are averaged (paper, appendix A)."""
    prompt, content = prompt_messages(row), response_messages(row, "completion")
    text = response_text(content)
    sentences = split_sentences(text)
    scores = list_field(row, "scores")
    criteria = scores if all(isinstance(value, list) for value in scores) else [scores]
    if any(len(criterion) != len(sentences) for criterion in criteria):
        counts = [len(criterion) for criterion in criteria]
        raise UnusableRow("sentence_count", f"{len(sentences)} sentences, but {counts} scores")
    low, high = _score_range(row, options)
    targets = []
    for sentence in zip(*criteria, strict=True):
        values = [number(value, "scores") for value in sentence]
        if any(not low <= value <= high for value in values):
            raise UnusableRow("score_out_of_range", f"scores {values}; allowed are {low} to {high}")
        targets.append((sum(values) / len(values) - low) / (high - low))
    spans = [(start, end, target) for (start, end), target in zip(sentences, targets, strict=True)]
    response = LabelledResponse(content, labels_from_characters(text, spans))
    return RowExamples(labelled=(LabelledExample(_group(row, prompt), prompt, response, options.name),))


def _score_range(row: Fields, options: ReadOptions) -> tuple[float, float]:
    low = number(row["score_min"], "score_min") if "score_min" in row else options.score_range[0]
    high = number(row["score_max"], "score_max") if "score_max" in row else options.score_range[1]
    if not low < high:
        raise UnusableRow("bad_score_range", f"score_min is {low} and score_max {high}")
    return low, high
