"""Whether a sequence head says anything in mid-response, on the user's own pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from asr_data.pipeline.aligned_rows import byte_rewards
from asr_data.statistics.bootstrap import Estimate, GroupBootstrap, Measure
from asr_data.statistics.ranking import pair_wins
from asr_data.storage import open_output
from asr_data.types import ByteRewards

PAIRS: Final = 10_000
"""Pairs that are compared: enough to settle the question."""


@dataclass(frozen=True, slots=True)
class MidResponse:
    """Share of pairs in which the chosen response has the higher reward; a tie counts half.

    Attributes:
        pairs: how many were compared.
        at_end: by the sequence scores, which are read where the head was trained.
        in_middle: by the reward of the span that holds the middle byte of each response; with a 95 % interval.
    """

    pairs: int
    at_end: float
    in_middle: Estimate

    @property
    def warning(self) -> str | None:
        """What a user should know, where the middle is no better than chance."""
        value, low, high = self.in_middle.value, self.in_middle.low, self.in_middle.high
        if low is None or low > 0.5:
            return None
        return (
            f"in mid-response this head ranks {value:.0%} of the pairs correctly ({low:.0%} to {high:.0%}; chance is "
            f"50%), at the end {self.at_end:.0%}: segments made from it are noise; read it with branches (read: branch)"
        )


def check_mid_response(path: Path) -> MidResponse | None:
    """How a sequence head ranks the pairs of a finished directory at the end and in the middle.

    Looks at the first ``PAIRS`` pairs. None for other kinds of scorers, and where there are no pairs.
    """
    directory = open_output(path, verify=False)
    if directory.manifest.scorer.kind != "seq_head" or set(directory.manifest.sides) != {"chosen", "rejected"}:
        return None

    def pairs() -> Iterator[tuple[ByteRewards, ByteRewards]]:
        for batch in directory.score_batches():
            yield from zip(byte_rewards(batch, "chosen"), byte_rewards(batch, "rejected"), strict=True)

    return mid_response(islice(pairs(), PAIRS))


def mid_response(pairs: Iterable[Sequence[ByteRewards]]) -> MidResponse | None:
    """Compare readings at the end and in the middle.

    Args:
        pairs: (chosen, rejected) with sequence scores.

    Returns:
        None where there are no pairs with sequence scores.
    """
    ends, middles = [], []
    for chosen, rejected in pairs:
        if chosen.reward is not None and rejected.reward is not None:
            ends.append((chosen.reward, rejected.reward))
            middles.append((_middle(chosen), _middle(rejected)))
    if not ends:
        return None
    wins = pair_wins(*np.array(middles).T)
    in_middle = GroupBootstrap(range(len(wins))).estimate(Measure.mean_of(wins))
    return MidResponse(len(ends), float(pair_wins(*np.array(ends).T).mean()), in_middle)


def _middle(rewards: ByteRewards) -> float:
    return float(rewards.span_reward[np.searchsorted(rewards.span_end, rewards.span_end[-1] / 2, side="right")])
