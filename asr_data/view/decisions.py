"""What segments were compared with: the baseline b and the dead band b ± δ, recovered from the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from asr_data.config import BaselineConfig, MaskConfig, Schmitt
from asr_data.masks.baseline import Responses
from asr_data.segments.statistics import RewardStatistics
from asr_data.storage import AnnotatedDirectory, Manifest
from asr_data.types import Float32, Float64, Side
from asr_data.view.noise import response_sigmas
from asr_data.view.reading import AnnotatedRow


@dataclass(frozen=True, slots=True)
class Decision:
    """What decided over the segments of one response.

    Attributes:
        baseline: b; None where nothing could give it, or where it cannot be recovered.
        delta: half-width δ of the dead band around it; None for segmenters without one, or with another width below b.
    """

    baseline: float | None = None
    delta: float | None = None


UNDECIDED = Decision()


def decisions(annotated: AnnotatedDirectory, rows: Sequence[AnnotatedRow]) -> list[dict[Side, Decision]]:
    """The decisions over the responses of each of these rows.

    The baselines ``dataset`` and ``running`` depend on other rows: they take a pass over the sequence rewards. Where
    ``--on-empty drop`` removed rows, they cannot be recovered.
    """
    manifest = annotated.manifest
    if manifest.mask is None:
        return [{} for _ in rows]
    config = manifest.mask
    if config.baseline.kind in ("dataset", "running"):
        if manifest.counts.rejects.get("empty_mask"):
            found = np.full((len(rows), len(manifest.sides)), np.nan)
        else:
            found = _from_all_rows(annotated, config.baseline, [one.position for one in rows])
    else:
        found = _from_own_rows(manifest, config.baseline, rows)
    deltas = _deltas(annotated, config, [one.position for one in rows])
    return [
        {
            side: Decision(*(None if np.isnan(value) else float(value) for value in (b, delta)))
            for side, b, delta in zip(manifest.sides, of_row, of_row_deltas, strict=True)
        }
        for of_row, of_row_deltas in zip(found, deltas, strict=True)
    ]


def _from_own_rows(manifest: Manifest, config: BaselineConfig, rows: Sequence[AnnotatedRow]) -> Any:
    names = [f"{manifest.prefix}{side}_reward" for side in manifest.sides]
    rewards: Any = [[one.columns[name] for name in names] for one in rows]
    return _baselines(config, np.array(rewards, dtype=np.float32).reshape(-1, len(names)))[0]


def _from_all_rows(annotated: AnnotatedDirectory, config: BaselineConfig, positions: Sequence[int]) -> Any:
    """Float64 ``[positions, sides]``, batch by batch over the whole directory."""
    sides = len(annotated.manifest.sides)
    statistics = RewardStatistics() if config.kind == "dataset" else None
    if statistics is not None:
        none = np.zeros(0, dtype=np.float32)
        for rewards in _sequence_rewards(annotated):
            statistics.add(none, np.zeros(1, dtype=np.int64), rewards.ravel())
    wanted = np.array(positions, dtype=np.int64)
    found = np.full((len(positions), sides), np.nan)
    running, first = None, 0
    for rewards in _sequence_rewards(annotated):
        of_batch, running = _baselines(config, rewards, statistics, running)
        inside = (wanted >= first) & (wanted < first + len(rewards))
        found[inside] = of_batch[wanted[inside] - first]
        first += len(rewards)
    return found


def _baselines(
    config: BaselineConfig,
    rewards: Float32,
    statistics: RewardStatistics | None = None,
    running: float | None = None,
) -> tuple[Any, float | None]:
    rows, sides = rewards.shape
    responses = Responses(rewards.ravel(), np.repeat(np.arange(rows), sides), statistics, running)
    flat, after = config.values(responses)
    return flat.reshape(rows, sides), after


def _sequence_rewards(annotated: AnnotatedDirectory) -> Any:
    """r_s of every response, float32 ``[rows, sides]`` per batch; NaN where unknown."""
    manifest = annotated.manifest
    names = [f"{manifest.prefix}{side}_reward" for side in manifest.sides]
    for batch in annotated.data_batches(columns=names):
        columns: list[pa.Array[Any]] = [batch.column(name) for name in names]
        yield np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1).astype(np.float32)


def _deltas(annotated: AnnotatedDirectory, config: MaskConfig, positions: Sequence[int]) -> Float64:
    """δ of each response of the rows at these positions, float64 ``[positions, sides]``; NaN where there is none."""
    sides = annotated.manifest.sides
    found = np.full((len(positions), len(sides)), np.nan)
    if not isinstance(config.segmenter, Schmitt) or config.segmenter.down != 1.0:
        return found
    sigma = annotated.manifest.statistics.get("sigma", np.nan)
    if not config.segmenter.needs_sigma or config.noise == "dataset":
        found[:] = config.segmenter.half_width(sigma)
        return found
    wanted, first = np.array(positions, dtype=np.int64), 0
    for scores in annotated.score_batches():
        inside = (wanted >= first) & (wanted < first + scores.num_rows)
        for place, side in enumerate(sides):
            own = response_sigmas(scores, side, config.reward)[wanted[inside] - first]
            # A response whose rewards never change takes the data set's noise.
            found[inside, place] = config.segmenter.half_width(np.where(own > 0, own, sigma))
        first += scores.num_rows
    return found
