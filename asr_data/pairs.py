"""Which pairs are made of a row with several answers, and how they are numbered.

A row's answers are put in order, best first, from 0. Answers ``i < j`` are the pair with the number
``j (j − 1) / 2 + i``, ``asr_pair``, whatever the rule: two answers have the same number in every output.

    answers    0 1   0 2   1 2   0 3   1 3   2 3
    number      0     1     2     3     4     5
"""

from __future__ import annotations

from math import isqrt
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from asr_data.settings import Settings

PairRule: TypeAlias = Literal["best-worst", "adjacent", "all", "best-rest"]
MOST_PAIRS: Final = 4096
"""Pairs that are made of one row: all those of 91 answers. A row with more is rejected."""


class PairConfig(Settings):
    """Which pairs are made of a row with several answers that have scores, ranks or verdicts.

    Example:
        asr_data.PairConfig(rule="all", min_gap=1.0)
    """

    rule: Annotated[
        PairRule,
        Field(
            description="Of a row with several answers: best-worst makes one pair, adjacent pairs each answer with the "
            "next worse one, best-rest the best answer with each other one, all each with each."
        ),
    ] = "best-worst"
    min_gap: Annotated[
        float,
        Field(
            ge=0,
            description="Pairs whose scores, ranks or verdicts (1 and 0) are less than this apart are rejected.",
            exclude_if=lambda gap: gap == 0,
        ),
    ] = 0.0

    @property
    def several(self) -> bool:
        """Whether a row can become several pairs."""
        return self.rule != "best-worst"

    def describe(self) -> str:
        """For the user: which pairs are made."""
        return _MADE[self.rule] + (f", at least {self.min_gap:g} apart" if self.min_gap else "")


_MADE: Final[dict[PairRule, str]] = {
    "best-worst": "the best is chosen, the worst rejected",
    "adjacent": "a pair of each answer and the next worse one",
    "all": "a pair of each two answers",
    "best-rest": "a pair of the best answer and each other one",
}


def pair_number(better: int, worse: int) -> int:
    """Number of the pair of two places in the order; ``better < worse``."""
    return worse * (worse - 1) // 2 + better


def pair_places(number: int) -> tuple[int, int]:
    """The places in the order of the pair with this number, the better one first."""
    worse = (1 + isqrt(1 + 8 * number)) // 2
    return number - worse * (worse - 1) // 2, worse


def pair_count(rule: PairRule, answers: int) -> int:
    """How many pairs a rule makes of so many answers, at least two."""
    match rule:
        case "best-worst":
            return 1
        case "adjacent" | "best-rest":
            return answers - 1
        case "all":
            return answers * (answers - 1) // 2


def pairs_made(rule: PairRule, answers: int) -> list[int]:
    """The numbers of the pairs that a rule makes of so many answers, at least two, ascending."""
    match rule:
        case "best-worst":
            return [pair_number(0, answers - 1)]
        case "adjacent":
            return [pair_number(worse - 1, worse) for worse in range(1, answers)]
        case "best-rest":
            return [pair_number(0, worse) for worse in range(1, answers)]
        case "all":
            return [*range(answers * (answers - 1) // 2)]
