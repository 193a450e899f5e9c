"""Checks within each row of an output, for a batch of rows at once.

Each check yields a message and a bool array ``[rows]``, true where the row is wrong. Messages name columns, not values,
so that the same fault in many rows is reported once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from asr_data.ragged import Ragged
from asr_data.storage.manifest import Manifest
from asr_data.types import Bool
from asr_data_schemas import data_schema, row_schema, scores_schema

Finding: TypeAlias = tuple[str, Bool]
"""What is wrong, and in which rows of the batch."""


def data_findings(batch: pa.RecordBatch, manifest: Manifest) -> Iterator[Finding]:
    """Checks of the added columns of ``data/``."""
    prefix = manifest.prefix
    masked = manifest.stage == "masked"
    reference = masked and manifest.reference is not None
    weights = manifest.has_weights
    pairs = manifest.plan.several_pairs
    schema = (
        data_schema(manifest.sides, prefix, weights=weights, pairs=pairs) if masked else row_schema(prefix, pairs=pairs)
    )
    yield from _nulls(batch, schema.names, partial=may_be_unknown(manifest, "data"))
    run = batch.column(f"{prefix}asr_run")
    wrong_run = np.asarray([value != manifest.run_id for value in run.to_pylist()], dtype=bool)
    yield f"{prefix}asr_run is not the manifest's run_id", wrong_run
    if not masked:
        return
    prompt = Ragged(batch.column(f"{prefix}prompt_ids"))
    yield f"{prefix}prompt_ids holds a negative token", prompt.any_of(prompt.values < 0)
    if reference:
        yield from logprob_findings(batch, prefix, manifest.sides)
        for side in manifest.sides:
            found, ids = (Ragged(batch.column(f"{prefix}{side}_{name}")) for name in ("ref_logp", "ids"))
            absent = np.asarray(batch.column(f"{prefix}{side}_ref_logp").is_null())
            message = f"{prefix}{side}_ref_logp is not as long as {prefix}{side}_ids"
            yield message, ~absent & (found.lengths != ids.lengths)
    for side in manifest.sides:
        yield from _side_findings(batch, f"{prefix}{side}_")
        yield from _unknown_findings(batch, f"{prefix}{side}_", f"{prefix}asr_notes", side)
        if weights:
            yield from _weight_findings(batch, f"{prefix}{side}_")
        if manifest.mask is not None and manifest.mask.end_token != "keep":
            # With "keep", end-of-turn tokens are trained on although their segment is dropped.
            yield from _mask_findings(batch, f"{prefix}{side}_", f"{prefix}asr_notes", f"empty_mask_{side}")


def may_be_unknown(manifest: Manifest, folder: str) -> bool:
    """Whether rewards in ``data`` or ``scores`` may be null.

    The scorer may leave any out, or did so for a response with reasoning or tool calls, of which the policy's template
    may show nothing.
    """
    if folder == "scores":
        return manifest.scorer.partial or manifest.plan.response_text is not None
    return manifest.scorer.partial or "unscored_text" in manifest.counts.notes


def _side_findings(batch: pa.RecordBatch, side: str) -> Iterator[Finding]:
    ids = Ragged(batch.column(f"{side}ids"))
    starts = Ragged(batch.column(f"{side}seg_start"))
    text_starts = Ragged(batch.column(f"{side}seg_text_start"))
    reward = batch.column(f"{side}reward").fill_null(0.0).to_numpy(zero_copy_only=False)
    yield f"{side}ids is empty", ids.lengths == 0
    yield f"{side}ids holds a negative token", ids.any_of(ids.values < 0)
    for name in ("mask", "token_reward"):
        lengths = Ragged(batch.column(f"{side}{name}")).lengths
        yield f"{side}{name} is not as long as {side}ids", lengths != ids.lengths
    for name in ("seg_text_start", "seg_reward", "seg_keep"):
        lengths = Ragged(batch.column(f"{side}{name}")).lengths
        yield f"{side}{name} is not as long as {side}seg_start", lengths != starts.lengths
    yield f"{side}seg_start does not begin with 0", (starts.lengths == 0) | (starts.first() != 0)
    yield f"{side}seg_start does not increase", starts.falls(strictly=True)
    yield f"{side}seg_start goes past the last token", starts.last() >= np.maximum(ids.lengths, 1)
    # Need not begin with 0: a template that trims leaves the text before the first token uncovered.
    yield f"{side}seg_text_start is negative", text_starts.first() < 0
    yield f"{side}seg_text_start decreases", text_starts.falls(strictly=False)
    yield from _finite(batch, f"{side}token_reward")
    yield from _finite(batch, f"{side}seg_reward")
    yield f"{side}reward is not finite", ~np.isfinite(reward)
    rewards = Ragged(batch.column(f"{side}token_reward"))
    # bfloat16 is float32 without its lower 16 bits.
    inexact = (rewards.values.astype(np.float32).view(np.uint32) & 0xFFFF) != 0
    yield f"{side}token_reward is not rounded to bfloat16", rewards.any_of(inexact)


def _mask_findings(batch: pa.RecordBatch, side: str, notes: str, empty: str) -> Iterator[Finding]:
    """A token of a dropped segment is not trained on, unless the mask was empty and --on-empty decided."""
    mask, keep = Ragged(batch.column(f"{side}mask")), Ragged(batch.column(f"{side}seg_keep"))
    starts = Ragged(batch.column(f"{side}seg_start"))
    ids = Ragged(batch.column(f"{side}ids"))
    noted = _noted(batch, notes, empty)
    whole = (mask.lengths == ids.lengths) & (keep.lengths == starts.lengths) & (starts.lengths > 0)
    inside = starts.values < np.repeat(mask.lengths, starts.lengths)
    if not whole.all() or not inside.all() or (starts.first() != 0).any():
        return  # these rows have findings of their own, and a token's segment is not defined
    begins = np.zeros(len(mask.values), dtype=np.int64)
    np.add.at(begins, starts.values + np.repeat(mask.offsets[:-1], starts.lengths), 1)
    kept = keep.values[np.cumsum(begins) - 1]
    yield f"{side}mask is true in a dropped segment", mask.any_of(mask.values & ~kept) & ~noted


def _weight_findings(batch: pa.RecordBatch, side: str) -> Iterator[Finding]:
    """Finite numbers that are not negative, none where nothing is trained on, not all 0 where something is."""
    weight, mask = (Ragged(batch.column(f"{side}{name}")) for name in ("weight", "mask"))
    fits = weight.lengths == mask.lengths
    yield f"{side}weight is not as long as {side}mask", ~fits
    yield from _finite(batch, f"{side}weight")
    yield f"{side}weight is negative", weight.any_of(weight.values < 0)
    if not fits.all():
        return  # a token's weight is not defined
    yield f"{side}weight is not 0 where {side}mask is false", mask.any_of(~mask.values & (weight.values != 0))
    yield (
        f"{side}weight is 0 at every token, and {side}mask is not false at every token",
        mask.any_of(mask.values) & ~weight.any_of(weight.values != 0),
    )


def _unknown_findings(batch: pa.RecordBatch, side: str, notes: str, name: str) -> Iterator[Finding]:
    """A segment whose reward is not known is not kept, unless nothing was or none is: then options decided."""
    reward, keep = Ragged(batch.column(f"{side}seg_reward")), Ragged(batch.column(f"{side}seg_keep"))
    if reward.unknown.any() and np.array_equal(reward.offsets, keep.offsets):
        kept = keep.any_of(keep.values & reward.unknown)
        noted = _noted(batch, notes, f"empty_mask_{name}") | _noted(batch, notes, f"unknown_{name}")
        yield f"{side}seg_keep is true where {side}seg_reward is null", kept & ~noted


def _noted(batch: pa.RecordBatch, notes: str, code: str) -> Bool:
    return np.asarray([code in (row or ()) for row in batch.column(notes).to_pylist()], dtype=bool)


def score_findings(batch: pa.RecordBatch, sides: Sequence[str], *, partial: bool) -> Iterator[Finding]:
    """Checks of a batch of ``scores/``; ``partial``: its rewards may be unknown."""
    names = [name for name in scores_schema(sides).names if not name.endswith("_reward")]
    yield from _nulls(batch, [*names, *(f"{side}_span_reward" for side in sides)], partial=partial)
    for side in sides:
        ends, steps = Ragged(batch.column(f"{side}_span_end")), Ragged(batch.column(f"{side}_step_end"))
        rewards = Ragged(batch.column(f"{side}_span_reward"))
        reward = batch.column(f"{side}_reward").fill_null(0.0).to_numpy(zero_copy_only=False)
        yield f"{side}_span_end is empty", ends.lengths == 0
        yield f"{side}_span_reward is not as long as {side}_span_end", rewards.lengths != ends.lengths
        yield f"{side}_span_end decreases or is negative", ends.falls(strictly=False) | (ends.first() < 0)
        yield f"{side}_step_end decreases or is negative", steps.falls(strictly=False) | (steps.first() < 0)
        yield f"{side}_step_end goes past the last span", steps.last() > ends.last()
        yield from _finite(batch, f"{side}_span_reward")
        yield f"{side}_reward is not finite", ~np.isfinite(reward)


def logprob_findings(batch: pa.RecordBatch, prefix: str, sides: Sequence[str]) -> Iterator[Finding]:
    """Checks of log-probabilities; a whole row's may be null."""
    for side in sides:
        name = f"{prefix}{side}_ref_logp"
        column = Ragged(batch.column(name))
        absent = np.asarray(batch.column(name).is_null())
        yield f"{name} holds nulls", column.null & ~absent
        yield from _finite(batch, name)
        yield f"{name} is above 0", column.any_of(column.values > 0)


def _nulls(batch: pa.RecordBatch, names: Sequence[str], *, partial: bool) -> Iterator[Finding]:
    """``partial``: lists of rewards may hold nulls, and a response without any known one has none of its own."""
    for name in names:
        column, unknown = batch.column(name), partial and name.endswith("_reward")
        is_list = pa.types.is_list(column.type)
        if is_list or not unknown:
            null = Ragged(column).null if is_list and not unknown else np.asarray(column.is_null())
            yield f"{name} is null or holds nulls", null


def _finite(batch: pa.RecordBatch, name: str) -> Iterator[Finding]:
    column = Ragged(batch.column(name))
    yield f"{name} is not finite", column.any_of(~np.isfinite(column.values) & ~column.unknown)
