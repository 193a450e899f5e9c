"""What travels between the stages: rows → text → scoring → segments → masks → storage.

Conventions, stated once and valid everywhere:

* A span is half-open, ``[start, end)``.
* Token positions count over the response alone, not over the prompt.
* A *response text* is what the assistant wrote in a completion: the string itself, or reasoning, content and tool
  calls of the assistant messages in order, in the form that :mod:`asr_data.response` defines. Byte offsets count
  its UTF-8 bytes, text offsets its code points.
* A mask is true where a token **is trained on** (its own log-probability, unshifted).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Message: TypeAlias = Mapping[str, Any]
Text: TypeAlias = str | Sequence[Message]
Side: TypeAlias = Literal["chosen", "rejected", "completion"]
RewardForm: TypeAlias = Literal["value", "increment"]
Criterion: TypeAlias = Literal["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
CRITERIA: Final[tuple[Criterion, ...]] = get_args(Criterion)
"""What sentences are scored by, named and ordered as in the paper (appendix A.2) and in HelpSteer."""
WordUnit: TypeAlias = Literal["auto", "character", "code"]
"""What texts are compared by: as :mod:`asr_data.text.shared_words` says, by characters, or all as code."""

Int32: TypeAlias = NDArray[np.int32]
Int64: TypeAlias = NDArray[np.int64]
Float16: TypeAlias = NDArray[np.float16]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Bool: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Label:
    """What the data set itself says about one stretch of a response.

    Attributes:
        start: first UTF-8 byte of the response text.
        end: one past the last byte; ``start < end``.
        reward: the reward that the format's own rule gives to the label.
        name: the label as it stands in the data (``"+"``, ``"-1"``, ``"Irrelevant"``), for a rule of the user's own.
        scores: where the data scores by several criteria, each score from 0 to 1, in the data's order (``CRITERIA``
            where there are five); ``reward`` is made of them.
    """

    start: int
    end: int
    reward: float
    name: str = ""
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One response to a prompt.

    Attributes:
        side: the column it came from.
        content: a string, or a list of messages where the data set is conversational.
        preferred: the response's verdict: True for chosen, False for rejected.
        labels: in order, without overlap; bytes that none covers are unknown, which is not the same as good.
            None where the data set has no labels.
    """

    side: Side
    content: Text
    preferred: bool
    labels: tuple[Label, ...] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One input row in the one shape that later stages know.

    Attributes:
        index: position in the input, from 0; becomes ``asr_row``.
        source: the input columns as they were read.
        prompt: a string, or messages; same kind as the completions' content.
        completions: ``(chosen, rejected)`` or ``(completion,)``.
        template_kwargs: passed to the chat template (``tools``, ``chat_template_kwargs``).
        above, between, below: where the row has more than two answers, those that are better than the chosen one,
            between the two, and worse than the rejected one, each best first.
        pair: which two of the row's answers these are, ``asr_pair`` (see :mod:`asr_data.pairs`); None where the
            row is one pair.
        elsewhere: another row of those that are scored together, where a scorer shows its answer as a control.
    """

    index: int
    source: Mapping[str, Any]
    prompt: Text
    completions: tuple[Completion, ...]
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    above: tuple[Text, ...] = ()
    between: tuple[Text, ...] = ()
    below: tuple[Text, ...] = ()
    pair: int | None = None
    elsewhere: Row | None = None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """An input row, or one of its pairs, that could not be annotated, and why.

    Attributes:
        index: of the input row.
        code: one of the contract's.
        message: what is wrong with it.
        pair: ``asr_pair`` of the pair; None for the whole row.
    """

    index: int
    code: str
    message: str
    pair: int | None = None


@dataclass(frozen=True, slots=True)
class ByteRewards:
    """A scorer's answer for one response, over the UTF-8 bytes of the response text.

    Attributes:
        span_end: int32 ``[spans]``, byte ends of consecutive spans; the last one is the length of the text.
            A first span that ends at 0 holds the value at the end of the prompt, ``V_{-1}``.
        span_reward: float32 ``[spans]``; NaN where unknown, which ``ScorerInfo.partial`` must allow.
        step_end: int32 ``[steps]``, byte ends of the scorer's own steps; empty where it has none.
        reward: the scorer's own sequence score, or None.
    """

    span_end: Int32
    span_reward: Float32
    step_end: Int32
    reward: float | None = None
