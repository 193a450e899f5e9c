"""PRM800K as its authors published it: steps with alternatives, each rated by a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from asr_data.rows.labelled.format import InputRecord, LabelledFormat, ReadRow, has, single
from asr_data.rows.labelled.spans import LabelledStep, join_steps
from asr_data.rows.labelled.values import integer, mapping, mismatch, objects, text, texts

_REWARDS: Final = {1: 1.0, 0: 0.5, -1: 0.0}


def _matches(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "question.problem", "label.steps.completions")


def read_prm800k(record: InputRecord) -> ReadRow:
    """Read PRM800K: the path through the steps that the labeller took.

    At each step that is the chosen completion, or the person's own; where neither is given the path ends with the
    first completion, which in phase 2 is the solution's own step, rated wrong. Where the path is the beginning of
    ``question.pre_generated_steps``, the rest of that solution follows, unknown.

    Rating 1 is 1, 0 (not wrong, no progress) is 0.5, −1 is 0; null and flagged steps are unknown, and so are steps
    that people wrote, which nobody rated. The steps are joined by a newline.
    """
    question = mapping(record, "question")
    path = _path(objects(record, "label", "steps"))
    generated = texts(record, "question", "pre_generated_steps") if question.get("pre_generated_steps") else []
    if generated[: len(path)] == [step for step, _, _ in path]:
        path += [(step, None, "") for step in generated[len(path) :]]
    return single(text(record, "question", "problem"), join_steps(path, "\n"))


def _path(steps: Sequence[InputRecord]) -> list[LabelledStep]:
    path: list[LabelledStep] = []
    for number, step in enumerate(steps, 1):
        completions = objects(step, "completions") if step.get("completions") else []
        chosen = step.get("chosen_completion")
        if chosen is not None:
            index = integer(chosen, f"step {number}: 'chosen_completion'")
            if not 0 <= index < len(completions):
                mismatch(f"step {number}: completion {index} is chosen, of {len(completions)}")
            path.append(_rated(completions[index], number))
        elif step.get("human_completion") is not None:
            path.append(_rated(mapping(step, "human_completion"), number))
        elif number < len(steps):
            mismatch(f"step {number}: nothing was chosen or written, but more steps follow")
        elif completions:
            path.append(_rated(completions[0], number))
    return path


def _rated(completion: InputRecord, number: int) -> LabelledStep:
    rating = completion.get("rating")
    if rating is None or completion.get("flagged"):
        return text(completion, "text"), None, ""
    rating = integer(rating, f"step {number}: the rating")
    if rating not in _REWARDS:
        mismatch(f"step {number}: the rating is {rating}; allowed are -1, 0, 1 and null")
    return text(completion, "text"), _REWARDS[rating], str(rating)


PRM800K: Final = LabelledFormat(
    "prm800k",
    "PRM800K: rated steps and alternatives",
    "https://github.com/openai/prm800k",
    ("completion",),
    _matches,
    read_prm800k,
)
