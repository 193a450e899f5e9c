"""What a token head reads beside a hidden state: settings, and the order of the numbers that they stand for."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, FiniteFloat, model_validator

from asr_data.scoring.context_config import ContextConfig
from asr_data.settings import Settings

Scalar: TypeAlias = Literal["logp", "entropy", "top", "rank"]
"""What the language model says of a token, in nats: its log-probability; the entropy of the distribution that it was
drawn from; the log-probability of the likeliest token; ``log(1 + tokens likelier than it)``."""
Decay: TypeAlias = Annotated[float, Field(gt=0, lt=1)]


class FeatureConfig(Settings):
    """What a linear token head reads of a token: a hidden state, and scalars.

    With ``partner``, the response is read a second time with another answer in view. The scalars of that reading, the
    log-ratio of the two readings and ``words`` are the partner features. They have weights of their own for responses
    that are preferred and for those that are not, and are 0 where there is no partner, which an indicator says.

    The head's file holds ``weight [labels, hidden + scalars]``, ``bias [labels]`` and, to standardise all scalars but
    the indicators, ``mean`` and ``std``; :meth:`columns` gives their order.
    """

    layer: Annotated[int, Field(ge=1)] | None = None
    """The hidden state after so many layers, fewer than the model has; default: the last one, with the model's own
    norm."""
    scalars: tuple[Scalar, ...] = ()
    """What the model's own language head says of each token. A model without one is refused."""
    partner: ContextConfig | None = None
    """A context that shows another answer, for the second reading. Where what it shows is not there, it is left
    out."""
    words: bool = False
    """Of the partner features: 1 where a word is shared with the pair's other answer, as for kind ``diff``, else 0."""
    averages: tuple[Decay, ...] = ()
    """Each scalar is also given as an average over the tokens up to this one, with weights that fall by these factors
    from token to token."""
    clip: Annotated[float, Field(gt=0)] = 5.0
    """Standard deviations at which standardised scalars are cut off."""
    ratio_clip: Annotated[float, Field(gt=0)] = 3.0
    """The same for the log-ratio, in nats, before it is averaged and standardised."""
    ratio: FiniteFloat = 0.0
    """How much of the log-ratio, per nat and not cut off, is added to the first of ``indices`` beside what the head
    says: the part of the reward that was not learnt."""

    @model_validator(mode="after")
    def _fits(self) -> FeatureConfig:
        if len(set(self.scalars)) < len(self.scalars):
            raise ValueError("scalars: each at most once")
        if self.averages and not self.scalars:
            raise ValueError("averages are of scalars: name at least one")
        if self.partner is None and (self.words or self.ratio):
            raise ValueError("words and ratio compare with a partner: set partner")
        if self.partner is not None and "logp" not in self.scalars:
            raise ValueError("a partner is read for its log-ratio: scalars must hold logp")
        if self.partner == "prompt":
            raise ValueError("partner: the prompt shows no other answer")
        return self

    def own_columns(self) -> list[str]:
        """Names of the scalars that every token has."""
        return self._averaged(list(self.scalars))

    def partner_columns(self) -> list[str]:
        """Names of the scalars that need a partner."""
        if self.partner is None:
            return []
        in_view = [f"{name} in view" for name in self.scalars]
        return self._averaged([*in_view, "ratio", *(["shared"] if self.words else [])])

    def columns(self) -> list[str]:
        """Names of all scalars in the order of the head's weights, which follow those of the hidden state."""
        partner = self.partner_columns()
        sides = ("rejected", "chosen") if partner else ()
        return [
            *self.own_columns(),
            *(f"{name}, {side}" for side in sides for name in partner),
            *(f"has a partner, {side}" for side in sides),
        ]

    def _averaged(self, names: list[str]) -> list[str]:
        return [*names, *(f"{name}, average {decay:g}" for decay in self.averages for name in names)]


def is_absent(value: Any) -> bool:
    """Whether an option is not set; left out of dumps, so that fingerprints of earlier versions stay what they are."""
    return value is None
