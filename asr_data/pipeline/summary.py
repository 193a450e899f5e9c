"""What a run reports when it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr_data.masks.positions import FIFTHS, KeptByPosition
from asr_data.storage.manifest import Manifest

if TYPE_CHECKING:
    from asr_data.segments.statistics import RewardStatistics


@dataclass(frozen=True, slots=True)
class SideSummary:
    """Totals over the responses of one side.

    ``mean_reward`` is the mean of their sequence rewards, those of ``unknown_responses`` left out. ``weight_sum``
    is that of the tokens' weights; None where rows have none. ``by_position`` has what is kept in each fifth of them;
    None in outputs of earlier versions.
    """

    responses: int
    tokens: int
    kept_tokens: int
    segments: int
    kept_segments: int
    mean_reward: float
    unknown_responses: int = 0
    weight_sum: float | None = None
    by_position: KeptByPosition | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What an output directory holds. ``sides`` is empty where there are no masks yet.

    ``pairs`` is ``annotated + rejected`` where an input row can be several pairs; None where that is ``rows``.
    ``tokens`` counts prompt and response tokens that this process scored, and ``seconds`` how long it took. ``unknown``
    says how responses train of which no reward is known.
    """

    path: Path
    rows: int
    annotated: int
    rejected: int
    rejects: dict[str, int]
    notes: dict[str, int]
    sides: dict[str, SideSummary]
    seconds: float
    tokens: int
    unknown: Literal["keep", "drop"] = "keep"
    pairs: int | None = None


_SIDE_FIELDS = (
    "responses",
    "tokens",
    "kept_tokens",
    "segments",
    "kept_segments",
    "unknown_responses",
    "reward_sum",
    *(f"fifth{number}_{name}" for number in range(1, FIFTHS + 1) for name in ("tokens", "kept_tokens")),
)


def side_statistics(totals: Iterable[Mapping[str, Any]], sides: Iterable[str]) -> dict[str, float]:
    """Totals of all shards as flat manifest statistics, such as ``chosen_kept_tokens``."""
    sums: Counter[str] = Counter()
    for shard in totals:
        sums.update({key: shard[key] for key in shard})
    return {f"{side}_{name}": float(sums[f"{side}_{name}"]) for side in sides for name in _SIDE_FIELDS}


def weight_statistics(
    statistics: RewardStatistics, totals: Iterable[Mapping[str, Any]], sides: Iterable[str]
) -> dict[str, float]:
    """``S_weight_sum`` of the sides, where rows have weights, and what they were divided by; else nothing."""
    found = {} if statistics.mean_distance is None else {"weight_mean_distance": statistics.mean_distance}
    return found | weight_sums(totals, sides)


def weight_sums(totals: Iterable[Mapping[str, Any]], sides: Iterable[str]) -> dict[str, float]:
    """``S_weight_sum`` of the sides, where rows have weights; else nothing."""
    shards, names = list(totals), [f"{side}_weight_sum" for side in sides]
    sums = {name: sum(float(shard[name]) for shard in shards if name in shard) for name in names}
    return sums if any(name in shard for shard in shards for name in names) else {}


def summary_of(path: Path, manifest: Manifest, seconds: float, tokens: int) -> Summary:
    """The summary of a finished directory."""
    sides: dict[str, SideSummary] = {}
    if manifest.stage == "masked":
        for side in manifest.sides:
            total = {name: manifest.statistics.get(f"{side}_{name}", 0.0) for name in _SIDE_FIELDS}
            known = int(total["responses"]) - int(total["unknown_responses"])
            sides[side] = SideSummary(
                responses=int(total["responses"]),
                tokens=int(total["tokens"]),
                kept_tokens=int(total["kept_tokens"]),
                segments=int(total["segments"]),
                kept_segments=int(total["kept_segments"]),
                mean_reward=total["reward_sum"] / known if known else float("nan"),
                unknown_responses=int(total["unknown_responses"]),
                weight_sum=manifest.statistics.get(f"{side}_weight_sum"),
                by_position=_by_position(manifest.statistics, side),
            )
    counts = manifest.counts
    return Summary(
        path=path,
        rows=counts.rows,
        annotated=counts.annotated,
        rejected=counts.rejected,
        rejects=dict(counts.rejects),
        notes=dict(counts.notes),
        sides=sides,
        seconds=seconds,
        tokens=tokens,
        unknown="keep" if manifest.mask is None else manifest.mask.unknown,
        pairs=counts.pairs,
    )


def _by_position(statistics: Mapping[str, float], side: str) -> KeptByPosition | None:
    kept, tokens = (
        [statistics.get(f"{side}_fifth{number}_{name}") for number in range(1, FIFTHS + 1)]
        for name in ("kept_tokens", "tokens")
    )
    if None in kept or None in tokens:
        return None
    counts = [tuple(int(one) for one in part if one is not None) for part in (kept, tokens)]
    return KeptByPosition(counts[0], counts[1], int(statistics[f"{side}_responses"]))
