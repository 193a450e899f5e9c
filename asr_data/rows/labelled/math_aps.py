"""MATH-APS: values of solution prefixes, estimated by rollouts, as a list or as the tree that they form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from asr_data.rows.labelled.format import InputRecord, LabelledFormat, LabelledText, ReadRow, has, single
from asr_data.rows.labelled.spans import LabelledSpan, LabelledStep, byte_labels, join_steps
from asr_data.rows.labelled.values import fraction, mapping, mismatch, objects, text, value


def _has_prefixes(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "question", "reasoning_steps.solution_prefix", "reasoning_steps.mc_value")


def read_prefixes(record: InputRecord) -> ReadRow:
    """Read flat MATH-APS: ``reasoning_steps`` lists ``solution_prefix`` and ``mc_value``, many solutions in one row.

    The response is the longest chain of prefixes, each the beginning of the next; of equally long ones, the chain
    whose last prefix comes first. Its steps are what each prefix adds, and a step's reward is the value of the state
    that it leads to, from 0 to 1; several estimates for one prefix are averaged. The text is the source's, without the
    white space around it; labels leave out the white space between steps.
    """
    question = text(record, "question")
    estimates: defaultdict[str, list[float]] = defaultdict(list)
    for number, step in enumerate(objects(record, "reasoning_steps"), 1):
        prefix = text(step, "solution_prefix")
        if not prefix.startswith(question):
            mismatch(f"prefix {number} does not begin with the question")
        estimates[prefix].append(fraction(value(step, "mc_value"), f"prefix {number}: 'mc_value'"))
    ordered = sorted(estimates, key=len)
    chains = ([short for short in ordered if prefix.startswith(short)] for prefix in estimates)
    chain = max(chains, key=len, default=[])
    return single(question, _cut(question, [(prefix, _mean(estimates[prefix])) for prefix in chain]))


def _cut(question: str, chain: list[tuple[str, float]]) -> LabelledText:
    """The response that the last prefix of a chain holds, and the labels of what each prefix added."""
    whole = chain[-1][0] if chain else question
    response = whole[len(question) :].strip()
    offset = whole.rindex(response)
    spans: list[LabelledSpan] = []
    position = len(question)
    for prefix, reward in chain:
        added = prefix[position:]
        if added.strip():
            start = position + len(added) - len(added.lstrip()) - offset
            spans.append((start, start + len(added.strip()), reward, f"{reward:g}"))
        position = max(position, len(prefix))
    return response, byte_labels(response, spans)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _has_tree(schema: pa.Schema, records: Sequence[InputRecord]) -> bool:  # noqa: ARG001 - one signature for all
    return has(schema, "question", "reasoning_steps.text", "reasoning_steps.mc_value", "reasoning_steps.children")


def read_tree(record: InputRecord) -> ReadRow:
    """Read the MATH-APS tree: ``reasoning_steps`` is the question's node, of ``text``, ``mc_value`` and ``children``.

    The response is the longest path below the question; of equally long ones, the first in the tree. A step's reward
    is its node's value, from 0 to 1. The steps are joined by a blank line, which is what stood there before the
    solutions were cut.
    """
    longest: list[InputRecord] = []
    paths: list[list[InputRecord]] = [[child] for child in reversed(_children(mapping(record, "reasoning_steps")))]
    while paths:
        path = paths.pop()
        if len(path) > len(longest):
            longest = path
        paths += ([*path, child] for child in reversed(_children(path[-1])))
    steps: list[LabelledStep] = []
    for number, node in enumerate(longest, 1):
        reward = fraction(value(node, "mc_value"), f"step {number}: 'mc_value'")
        steps.append((text(node, "text"), reward, f"{reward:g}"))
    return single(text(record, "question"), join_steps(steps, "\n\n"))


def _children(node: InputRecord) -> list[InputRecord]:
    return objects(node, "children") if node.get("children") else []


MATH_APS: Final = LabelledFormat(
    "math_aps",
    "MATH-APS: values of solution prefixes",
    "https://huggingface.co/datasets/openreasoner/MATH-APS",
    ("completion",),
    _has_prefixes,
    read_prefixes,
)
MATH_APS_TREE: Final = LabelledFormat(
    "math_aps_tree",
    "MATH-APS: the tree of solutions, with a value at each node",
    "https://github.com/openreasoner/openr",
    ("completion",),
    _has_tree,
    read_tree,
)
