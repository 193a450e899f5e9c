"""``optimal``: the exact minimiser of paper eq. 14.

Over all partitions of a row into segments S_1 … S_K it minimises

    Σ_k Σ_{t ∈ S_k} (r_t − mean_k)²  +  c² · Σ_k w(start of S_k)

with w = 1 everywhere (that is ``c² K``), or with given weights by what stands at the start.

Optimal partitioning with exact pruning. Let C(s, t) be the squared error of ``r_s … r_{t−1}`` around their
mean, F(t) the optimum over partitions of ``r_0 … r_{t−1}``, and A(s) = F(s) + c² w_s the cost of all that
precedes a segment that starts at s, its own start included. Then ``F(t) = min over s < t of A(s) + C(s,
t)``. A candidate s is dropped when it can win at no later end T:

* Think of the last segment's level μ as free: from s, the cost at T is
  ``A(s) + Σ_{s ≤ i < T} (r_i − μ)²``, and its minimum over μ is ``A(s) + C(s, T)``. From t, for s < t < T,
  it is ``A(t) + Σ_{t ≤ i < T} (r_i − μ)²``. The difference does not depend on T: s is no worse than t
  exactly when ``A(s) + Σ_{s ≤ i < t} (r_i − μ)² ≤ A(t)``. The sum is ``C(s, t) + (t − s)(μ − mean(s, t))²``,
  so this holds for μ in the interval ``mean(s, t) ± sqrt((A(t) − A(s) − C(s, t)) / (t − s))``, and for no μ
  if the root is of a negative number (which is PELT's condition, with the costs of both starts in it).
* s can only win with a μ in the intersection of these intervals over later candidates t. An empty
  intersection drops s. This holds for any subset of the t, so pruning every few tokens is exact too, and
  leaves the loop over candidates, which runs for every token, short and simple.

Nothing above asks the weights to be equal. Ties go to the fewest segments, then to the earliest start of the
last one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from asr_data.compiled import compiled
from asr_data.errors import ConfigError
from asr_data.types import Float32, Float64, Int64

PRUNE_EVERY = 8  # tokens; measured: the fastest of 1, 2, 4 and 8, with steps in the rewards and without
LAST = 2**63 - 1
POSITION_BITS = 32  # a candidate's key is its number of segments, then its position


def optimal_starts(values: Float32, row_offsets: Int64, penalties: Float64, weights: Float64 | None = None) -> Int64:
    """Return the segment starts of least cost.

    Args:
        values: float32 ``[N]``.
        row_offsets: int64 ``[R + 1]``.
        penalties: float64 ``[R]``, c² of each row, at least 0. With 0, segments are the runs of equal rewards.
        weights: float64 ``[N]``, at least 0: starting a segment at token t costs ``c² · weights[t]``. The first segment
            of a row costs the same however the row is cut, so its weight has no effect. None is 1 everywhere.

    Raises:
        ConfigError: weights of another shape, or negative or not finite ones.
    """
    given = np.empty(0, dtype=np.float64) if weights is None else np.ascontiguousarray(weights, dtype=np.float64)
    if weights is not None and given.shape != values.shape:
        raise ConfigError(f"boundary must have shape {values.shape}, got {given.shape}")
    if not (np.isfinite(given) & (given >= 0)).all():
        raise ConfigError("boundary weights must be finite and at least 0")
    starts = np.empty(values.size, dtype=np.int64)
    return starts[: _optimal(values, row_offsets, penalties, given, starts)].copy()


def named_penalties(name: Literal["paper", "bic"], sigma: Float64, row_offsets: Int64) -> Float64:
    """Return c² of every row, float64 ``[R]``: ``paper`` is σ², ``bic`` is ``2 σ² ln n`` with n the row's length."""
    if name == "paper":
        return sigma**2
    lengths = np.maximum(np.diff(row_offsets), 1)  # an empty row has no segments, whatever its penalty
    return 2 * sigma**2 * np.log(lengths)


@compiled(nogil=True, error_model="numpy")
def _optimal(values: Float32, row_offsets: Int64, penalties: Float64, weights: Float64, starts: Int64) -> int:
    longest = 0
    for row in range(row_offsets.size - 1):
        longest = max(longest, row_offsets[row + 1] - row_offsets[row])
    candidates = np.empty((6, longest + 1), dtype=np.float64)
    keys = np.empty(longest + 1, dtype=np.int64)
    last_start = np.empty(longest + 1, dtype=np.int64)
    count = 0
    for row in range(row_offsets.size - 1):
        begin, end = row_offsets[row], row_offsets[row + 1]
        if begin == end:
            continue
        if penalties[row] == 0.0:
            count = _runs_of_equal_rewards(values, begin, end, starts, count)
            continue
        row_weights = weights[begin:end] if weights.size else weights
        _solve_row(values[begin:end], penalties[row], row_weights, candidates, keys, last_start)
        count = _trace_back(last_start, begin, end - begin, starts, count)
    return count


@compiled(nogil=True, error_model="numpy")
def _solve_row(
    values: Float32, penalty: float, weights: Float64, candidates: Float64, keys: Int64, last_start: Int64
) -> None:
    """Fill ``last_start[t]``, where the last segment of the best partition of the first t tokens starts.

    With prefix sums Q of ``r²`` and S of r, ``C(s, t) = Q_t − Q_s − (S_t − S_s)² / (t − s)``. Q_t appears in
    every cost at t alike, so ``A(s) − Q_s`` is stored in place of A(s) and Q is never formed; sums are of
    ``r − mean``, which changes no cost and keeps them small.
    """
    preceding, sums, positions = candidates[0], candidates[1], candidates[2]
    costs, lowest, highest = candidates[3], candidates[4], candidates[5]
    length = values.size
    mean = 0.0
    for position in range(length):
        mean += values[position]
    mean /= length
    preceding[0], sums[0], positions[0], keys[0] = penalty, 0.0, 0.0, np.int64(1) << POSITION_BITS
    lowest[0], highest[0] = -np.inf, np.inf
    alive, total = 1, 0.0
    for t in range(1, length + 1):
        total += values[t - 1] - mean
        best = _candidate_costs(alive, np.float64(t), total, preceding, sums, positions, costs)
        key = _first_key(alive, best, costs, keys)
        last_start[t] = key & ((np.int64(1) << POSITION_BITS) - 1)
        if t == length:
            break
        segments = (key >> POSITION_BITS) + 1
        entered = best + (penalty * weights[t] if weights.size else penalty)
        if t % PRUNE_EVERY == 0:
            alive = _prune(alive, np.float64(t), total, entered, segments, candidates, keys)
        preceding[alive], sums[alive], positions[alive] = entered, total, np.float64(t)
        lowest[alive], highest[alive] = -np.inf, np.inf
        keys[alive] = (segments << POSITION_BITS) | t
        alive += 1


@compiled(nogil=True, error_model="numpy")
def _candidate_costs(
    alive: int,
    t: float,
    total: float,
    preceding: Float64,
    sums: Float64,
    positions: Float64,
    costs: Float64,
) -> float:
    best = np.inf
    for index in range(alive):
        difference = total - sums[index]
        cost = preceding[index] - difference * difference / (t - positions[index])
        costs[index] = cost
        if cost < best:
            best = cost
    return best


@compiled(nogil=True)
def _first_key(alive: int, best: float, costs: Float64, keys: Int64) -> int:
    """Return the least key among the candidates of cost ``best``: fewest segments, then earliest start."""
    first = LAST
    for index in range(alive):
        first = min(first, keys[index] if costs[index] == best else LAST)
    return first


@compiled(nogil=True, error_model="numpy")
def _prune(alive: int, t: float, total: float, entered: float, segments: int, candidates: Float64, keys: Int64) -> int:
    """Drop the candidates that a start at t beats at every level; return how many stay, in order."""
    preceding, sums, positions = candidates[0], candidates[1], candidates[2]
    costs, lowest, highest = candidates[3], candidates[4], candidates[5]
    kept = 0
    for index in range(alive):
        slack = entered - costs[index]
        # Where t is as good at the one level left, it wins the tie unless s has fewer segments.
        if slack < 0.0 or (slack == 0.0 and (keys[index] >> POSITION_BITS) >= segments):
            continue
        length = t - positions[index]
        centre = (total - sums[index]) / length
        radius = np.sqrt(slack / length)
        low = max(lowest[index], centre - radius)
        high = min(highest[index], centre + radius)
        if low > high:
            continue
        preceding[kept], sums[kept], positions[kept] = preceding[index], sums[index], positions[index]
        lowest[kept], highest[kept], keys[kept] = low, high, keys[index]
        kept += 1
    return kept


@compiled(nogil=True)
def _trace_back(last_start: Int64, begin: int, length: int, starts: Int64, count: int) -> int:
    """Append the row's starts in ascending order; return the new count."""
    segments, t = 0, length
    while t > 0:
        t = last_start[t]
        segments += 1
    t = length
    for index in range(count + segments - 1, count - 1, -1):
        t = last_start[t]
        starts[index] = begin + t
    return count + segments


@compiled(nogil=True)
def _runs_of_equal_rewards(values: Float32, begin: int, end: int, starts: Int64, count: int) -> int:
    """Without a penalty the least cost is 0, and the fewest segments that reach it are the runs."""
    for position in range(begin, end):
        if position == begin or values[position] != values[position - 1]:
            starts[count] = position
            count += 1
    return count
