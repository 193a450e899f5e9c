"""What segments were compared with: the baseline b and the dead band b ± δ, recovered from the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from asr_data.config import BaselineConfig, MaskConfig, Schmitt
from asr_data.masks.baseline import Responses
from asr_data.storage import AnnotatedDirectory, Manifest
from asr_data.types import Float32, Float64, Side
from asr_data.view.reading import AnnotatedRow

if TYPE_CHECKING:
    from asr_data.segments.statistics import RewardStatistics


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


def decisions(
    annotated: AnnotatedDirectory, rows: Sequence[AnnotatedRow], baselines: Float64 | None = None
) -> list[dict[Side, Decision]]:
    """The decisions over the responses of each of these rows.

    The baselines ``dataset`` and ``running`` depend on other rows: they take a pass over the sequence rewards. Where
    ``--on-empty drop`` removed rows, they cannot be recovered.

    Args:
        annotated: the directory.
        rows: some of its rows.
        baselines: what :func:`all_baselines` gave, so that the pass need not be made again.
    """
    manifest = annotated.manifest
    if manifest.mask is None:
        return [{} for _ in rows]
    config = manifest.mask
    positions = [one.position for one in rows]
    if depends_on_other_rows(config.baseline):
        found = (all_baselines(annotated) if baselines is None else baselines)[positions]
    else:
        found = _from_own_rows(manifest, config.baseline, rows)
    deltas = _deltas(annotated, config, positions)
    return [
        {
            side: Decision(*(None if np.isnan(value) else float(value) for value in (b, delta)))
            for side, b, delta in zip(manifest.sides, of_row, of_row_deltas, strict=True)
        }
        for of_row, of_row_deltas in zip(found, deltas, strict=True)
    ]


def depends_on_other_rows(config: BaselineConfig) -> bool:
    """Whether a row's own rewards do not give its baseline."""
    return config.kind in ("dataset", "running")


def all_baselines(annotated: AnnotatedDirectory) -> Float64:
    """b of every response, float64 ``[rows, sides]``, by a pass over the sequence rewards; NaN where unknown."""
    manifest = annotated.manifest
    if manifest.mask is None or manifest.counts.rejects.get("empty_mask"):
        return np.full((manifest.counts.annotated, len(manifest.sides)), np.nan)
    from asr_data.segments.statistics import RewardStatistics  # imports numba

    config = manifest.mask.baseline
    statistics = RewardStatistics() if config.kind == "dataset" else None
    if statistics is not None:
        none = np.zeros(0, dtype=np.float32)
        for rewards in _sequence_rewards(annotated):
            statistics.add(none, np.zeros(1, dtype=np.int64), rewards.ravel())
    found, running = [np.zeros((0, len(manifest.sides)))], None
    for rewards in _sequence_rewards(annotated):
        of_batch, running = _baselines(config, rewards, statistics, running)
        found.append(of_batch)
    return np.concatenate(found)


def _from_own_rows(manifest: Manifest, config: BaselineConfig, rows: Sequence[AnnotatedRow]) -> Any:
    names = [f"{manifest.prefix}{side}_reward" for side in manifest.sides]
    rewards: Any = [[one.columns[name] for name in names] for one in rows]
    return _baselines(config, np.array(rewards, dtype=np.float32).reshape(-1, len(names)))[0]


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
    from asr_data.view.noise import response_sigmas  # imports numba

    _, place_of = np.unique(np.array(positions, dtype=np.int64), return_inverse=True)
    batches = list(annotated.rows_at(positions, "scores"))
    for place, side in enumerate(sides):
        own = np.concatenate([np.zeros(0), *(response_sigmas(batch, side, config.reward) for batch in batches)])
        # A response whose rewards never change takes the data set's noise.
        found[:, place] = config.segmenter.half_width(np.where(own > 0, own, sigma)[place_of])
    return found
