"""What a scorer is: rows in, rewards over the bytes of each response out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from asr_data.scoring.context_config import ContextConfig
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, RejectedRow, RewardForm, Row

Scored: TypeAlias = tuple[ByteRewards, ...] | RejectedRow
"""The rewards of a row's completions, in their order, or why there are none."""


@dataclass(frozen=True, slots=True)
class ScorerInfo:
    """Who gave the rewards; goes into the manifest.

    Attributes:
        name: what the user asked for.
        kind: a kind of DESIGN §4, such as ``token_head``.
        form: ``value`` (a state's score) or ``increment`` (what a token added).
        fingerprint: sha256 over weights and settings: equal fingerprints give equal rewards.
        settings: how it was read, for the card.
        partial: it may leave spans without a reward (NaN: unknown). From any other scorer NaN is an error.
        contexts: what it reads before a response, where that is not the prompt alone: names, or messages. The columns
            that they show must be there.
    """

    name: str
    kind: str
    form: RewardForm
    fingerprint: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False
    contexts: tuple[ContextConfig, ...] = ()


@runtime_checkable
class Scorer(Protocol):
    """Anything that can score rows. One method; the two attributes say who it is.

    ``tokenizer`` is the scorer's own tokenizer, the default for the policy's, or None.
    """

    @property
    def info(self) -> ScorerInfo: ...  # noqa: D102 - the class says it

    @property
    def tokenizer(self) -> Tokenizer | None: ...  # noqa: D102 - the class says it

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:
        """Score rows.

        Args:
            rows: rows of one shard. Batches may be composed from them alone, so that a resumed run gives the
                same bytes. The pairs of an input row are rows one behind the other, with its index and a ``pair``.
            on_tokens: called with the number of tokens done since the last call.

        Returns:
            One entry a row, in order.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """A scorer that can do part of its work while its model is busy with other rows.

    ``score(rows)`` is ``score_prepared(rows, prepare(rows))``. ``prepare`` is called from another thread.
    """

    def prepare(self, rows: Sequence[Row]) -> Any:
        """What the model will be asked, such as token ids."""
        ...

    def tokens(self, prepared: Any) -> int:
        """How many tokens ``score_prepared`` tells ``on_tokens`` of in all."""
        ...

    def score_prepared(
        self, rows: Sequence[Row], prepared: Any, on_tokens: Callable[[int], None] | None = None
    ) -> list[Scored]:
        """See :meth:`Scorer.score`."""
        ...


@runtime_checkable
class Measured(Protocol):
    """What was measured of it on the way, such as how far a server's readings are from ours.

    ``measured`` goes into the manifest's statistics: the largest number of each name over all shards. It decides
    nothing.
    """

    @property
    def measured(self) -> Mapping[str, float]: ...  # noqa: D102 - the class says it


def largest(measured: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The largest number of each name."""
    found: dict[str, float] = {}
    for numbers in measured:
        for name, value in numbers.items():
            found[name] = max(value, found.get(name, value))
    return found
