"""What goes into the mask stage and what comes out, as flat arrays over all responses of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_data.types import Bool, Float32, Int32, Int64


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """Scored responses over policy tokens; N tokens of R responses, each with at least one token.

    Attributes:
        values: float32 ``[N]``, rewards as the scorer gave them, rounded to bfloat16; NaN where unknown.
        row_offsets: int64 ``[R + 1]``; response r is ``[row_offsets[r], row_offsets[r + 1])``.
        written: bool ``[N]``, true where the assistant wrote the token.
        end: bool ``[N]``, true at the end-of-turn tokens of the assistant's own turns.
        preferred: bool ``[R]``, the verdicts.
        group: int64 ``[R]``, a number of the annotated row; responses of one row are adjacent.
        boundary: int8 ``[N]`` of ``asr_data.boundaries.BoundaryKind``.
        step_start: bool ``[N]``, true where a step of the ``step`` segmenter starts.
        initial: float32 ``[R]``, the value at the end of the prompt; NaN where the scorer gave none.
        scorer_reward: float32 ``[R]``, the scorer's own sequence score; NaN where it gave none.
        text: bool ``[N]``, true where the token holds text of the response; None where that is ``written & ~end``.
        span_reward: float32 ``[S]``, rewards of the scorer's own spans, in order and not rounded, without the one for
            the prompt; None where the tokens with text are the spans.
        span_offsets: int64 ``[R + 1]`` of the spans.
        reference: float32 ``[N]``, the reference's log π in nats; NaN where unknown, None where there is no reference.
    """

    values: Float32
    row_offsets: Int64
    written: Bool
    end: Bool
    preferred: Bool
    group: Int64
    boundary: NDArray[np.int8]
    step_start: Bool
    initial: Float32
    scorer_reward: Float32
    text: Bool | None = None
    span_reward: Float32 | None = None
    span_offsets: Int64 | None = None
    reference: Float32 | None = None

    @property
    def with_text(self) -> Bool:
        """Bool ``[N]``, true where the token holds text of the response."""
        return self.written & ~self.end if self.text is None else self.text


@dataclass(frozen=True, slots=True, eq=False)
class MaskedBatch:
    """Segments and masks of a ``TokenBatch``; K segments.

    Attributes:
        token_reward: float32 ``[N]``, r_t: the values, or their increments; NaN where unknown.
        mask: bool ``[N]``, true where the token is trained on.
        segment_offsets: int64 ``[R + 1]`` into the next three.
        segment_start: int32 ``[K]``, counted from the response's first token.
        segment_reward: float32 ``[K]``, r_k; NaN for a segment of unknown tokens.
        segment_keep: bool ``[K]``.
        reward: float32 ``[R]``, r_s; NaN where nothing is known of the response.
        empty: bool ``[R]``, true where no written token was left to train on, whatever ``on_empty`` then did.
        unknown: bool ``[R]``, true where no reward is known; these are not ``empty``, and ``unknown`` of the settings
            decided.
        weight: float32 ``[N]``, 0 where ``mask`` is false, else finite and not negative; None where it is 1 there.
    """

    token_reward: Float32
    mask: Bool
    segment_offsets: Int64
    segment_start: Int32
    segment_reward: Float32
    segment_keep: Bool
    reward: Float32
    empty: Bool
    unknown: Bool
    weight: Float32 | None = None
