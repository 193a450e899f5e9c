"""What the sample gives away without a judge: length, the place of the faults, and what a word diff finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from statistics import mean

import numpy as np

from asr_data.statistics.ranking import auroc
from tests.sample.build import TOPICS, Pair

_WORD = re.compile(r"\w+|[^\w\s]")


def place_auroc(pair: Pair) -> float:
    """AUROC of "later is worse" over the characters of the rejected answer."""
    return _auroc(pair, np.arange(len(pair.rejected), dtype=np.float64))


def diff_auroc(pair: Pair) -> float:
    """AUROC of "a word that is not in a longest match with the chosen answer is faulty", over characters."""
    ours, other = list(_WORD.finditer(pair.rejected)), _WORD.findall(pair.chosen)
    changed = np.zeros(len(pair.rejected))
    matcher = SequenceMatcher(None, [word[0] for word in ours], other, autojunk=False)
    shared = {at for block in matcher.get_matching_blocks() for at in range(block.a, block.a + block.size)}
    for at, word in enumerate(ours):
        changed[word.start() : word.end()] = at not in shared
    return _auroc(pair, changed)


def length_ratio(pairs: Sequence[Pair]) -> float:
    """Characters of the chosen answers over those of the rejected ones."""
    return sum(len(pair.chosen) for pair in pairs) / sum(len(pair.rejected) for pair in pairs)


def chosen_longer(pairs: Sequence[Pair]) -> float:
    """The share of pairs whose chosen answer is the longer one."""
    return mean(len(pair.chosen) > len(pair.rejected) for pair in pairs)


def average(measure: Callable[[Pair], float], pairs: Sequence[Pair]) -> float:
    """The mean of a measure over pairs."""
    return mean(measure(pair) for pair in pairs)


def figures(pairs: Sequence[Pair]) -> str:
    """The table of the sample's README."""
    lines = [
        "| topic | pairs | chosen longer | length, chosen over rejected | later is worse | word diff |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for topic in (*TOPICS, "all"):
        own = [pair for pair in pairs if topic in (pair.topic, "all")]
        found = [chosen_longer(own), length_ratio(own), average(place_auroc, own), average(diff_auroc, own)]
        lines.append(f"| {topic} | {len(own)} | " + " | ".join(f"{figure:.2f}" for figure in found) + " |")
    return "\n".join(lines)


def _auroc(pair: Pair, score: np.ndarray) -> float:
    faulty = np.zeros(len(pair.rejected), dtype=bool)
    for span in pair.faults:
        faulty[span.start : span.end] = True
    found = auroc(score, faulty)
    if found is None:
        raise ValueError(f"{pair.prompt[-1][1]!r}: a rejected answer has faulty and sound text")
    return found
