"""Rewards over bytes onto tokens, whatever tokenizer made them."""

from __future__ import annotations

import numpy as np

from asr_data.errors import RowRejected
from asr_data.types import Bool, ByteRewards, Float32, Int32, Int64, RewardForm


def check_rewards(rewards: ByteRewards, text_bytes: int, *, partial: bool = False) -> None:
    """Refuse rewards that do not fit their text.

    Args:
        rewards: what the scorer said.
        text_bytes: length of the response text.
        partial: the scorer may leave spans unknown (``ScorerInfo.partial``). NaN from any other is an error.

    Raises:
        RowRejected: ``wrong_reward_length`` or ``non_finite_reward``.
    """
    ends = rewards.span_end
    if len(ends) != len(rewards.span_reward):
        raise RowRejected("wrong_reward_length", f"{len(ends)} spans but {len(rewards.span_reward)} rewards")
    if not len(ends) or ends[-1] != text_bytes or ends[0] < 0 or np.any(np.diff(ends) <= 0):
        raise RowRejected("wrong_reward_length", f"the spans do not cover the {text_bytes} bytes of the response")
    steps = rewards.step_end
    if len(steps) and (steps[0] < 0 or steps[-1] > text_bytes or np.any(np.diff(steps) <= 0)):
        raise RowRejected("wrong_reward_length", f"the steps do not lie in the {text_bytes} bytes of the response")
    wrong = np.isinf(rewards.span_reward) if partial else ~np.isfinite(rewards.span_reward)
    if wrong.any() or not np.isfinite(rewards.reward or 0.0):
        raise RowRejected("non_finite_reward", "the scorer gave a reward that is NaN or infinite")


def project(rewards: ByteRewards, start: Int32, end: Int32, form: RewardForm, takes: Int64 | None = None) -> Float32:
    """Token rewards from byte rewards.

    A *value* becomes the overlap-weighted mean of the spans that a token covers, an *increment* the
    overlap-weighted share of their sums. A token that covers no text (the template's own) takes the value of the
    token before it, at the start of the one after it, and the increment 0.

    Spans whose reward is unknown contribute nothing: the mean and the sum are over the known bytes that a token covers.
    A token that covers none is unknown, and so is one without text that would take its value.

    Args:
        rewards: what the scorer said.
        start: int32 ``[tokens]``, first byte of the response text that the token covers; ascending.
        end: int32 ``[tokens]``, one past the last one.
        form: what the scorer's numbers are.
        takes: int64 ``[2, tokens]``, whose value a token without text takes, where it is not that of the one before;
            see :class:`asr_data.text.align.AlignedResponse`.

    Returns:
        float32 ``[tokens]``, NaN where unknown.

    Raises:
        RowRejected: ``tokens_uncovered`` if no token covers any text.
    """
    from asr_data.text.overlaps import overlapping_rewards  # compiled code: not for every command

    covered = end > start
    if takes is None:
        takes = np.tile(before_or_first(covered), (2, 1))
    if not covered.any() and np.any(takes >= 0):
        raise RowRejected("tokens_uncovered", "no token of the response covers any of its text")
    out = overlapping_rewards(rewards.span_end, rewards.span_reward.astype(np.float64), start, end, form == "value")
    out = np.append(out, np.nan)
    own = np.arange(len(start))
    taken = out[np.where(covered, own, takes[0])]
    taken[np.isnan(out[np.where(covered, own, takes[1])])] = np.nan
    if form == "increment":
        taken = np.where(covered | np.isnan(taken), taken, 0.0)
    return taken.astype(np.float32)


def before_or_first(covered: Bool) -> Int64:
    """For each token the last one up to it that covers text, or the first one that does; 0 where none does."""
    source = np.maximum.accumulate(np.where(covered, np.arange(len(covered)), -1))
    return np.where(source < 0, int(np.argmax(covered)), source).astype(np.int64)


def initial_value(rewards: ByteRewards) -> float:
    """``V_{-1}``, the value at the end of the prompt, or NaN where the scorer gave none."""
    return float(rewards.span_reward[0]) if rewards.span_end[0] == 0 else float("nan")
