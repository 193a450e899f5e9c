"""Settings of critics and of what they are asked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from asr_data.critique.prompt import PROMPT_VERSION
from asr_data.endpoints.client import Role
from asr_data.endpoints.config import EndpointModel, ResponseFormat, load_models, read_text
from asr_data.errors import ConfigError, CriticError
from asr_data.settings import Settings

SideChoice: TypeAlias = Literal["both", "rejected", "chosen"]

_LONGEST_RUBRIC: Final = 100_000


class Critic(EndpointModel):
    """One critic: a model behind an OpenAI-compatible endpoint."""

    max_tokens: Annotated[int, Field(ge=1, description="Longest reply, in tokens.")] = 4096
    response_format: Annotated[
        ResponseFormat | Literal["auto"],
        Field(
            description="json_object or json_schema where the server can constrain replies; auto asks for the "
            "strictest form that it takes."
        ),
    ] = "auto"


CRITIC: Final = Role(
    noun="critic",
    answers="critiques",
    missing="missing critiques",
    error=CriticError,
    form='A reply holds {"faults": [{"quote": "…", "context": "", "kind": "…", "severity": "major", "reason": "…"}]}, '
    "with an empty list where nothing is wrong",
)
"""Critics in the words of messages."""


class CritiqueSettings(Settings):
    """What critics are asked."""

    side: Annotated[SideChoice, Field(description="Responses to review; both is every response of a row.")] = "both"
    better_answer: Annotated[bool, Field(description="Show the chosen answer where the rejected one is reviewed.")] = (
        True
    )
    rubric: Annotated[str | None, Field(description="Text that says what counts as a fault, in place of ours.")] = None
    samples: Annotated[int, Field(ge=1, description="Critiques that each critic gives; each has a vote.")] = 1
    seed: Annotated[
        int | None,
        Field(
            ge=0,
            description="Seed that is sent with requests, counted up by sample; without one, none is sent, or 0 for "
            "the first of several samples.",
        ),
    ] = None

    @model_validator(mode="after")
    def _rubric_says_something(self) -> Self:
        if self.rubric is not None and not self.rubric.strip():
            raise ValueError("the rubric is empty")
        return self

    def seed_of(self, sample: int) -> int | None:
        """The seed of a sample, or None."""
        if self.seed is None and self.samples == 1:
            return None
        return (self.seed or 0) + sample

    def identity(self) -> dict[str, Any]:
        """Everything here that can change a critique."""
        rubric = None if self.rubric is None else hashlib.sha256(self.rubric.encode()).hexdigest()
        return {**self.model_dump(mode="json"), "rubric": rubric, "prompt": PROMPT_VERSION}


def load_critics(path: Path) -> tuple[Critic, ...]:
    """The critics of a JSON file: a list of objects with the fields of :class:`Critic`.

    Raises:
        ConfigError: the file cannot be read, or a critic in it is invalid.
    """
    return load_models(path, Critic)


def load_rubric(path: Path) -> str:
    """The text of a rubric's file.

    Raises:
        ConfigError: it cannot be read, is empty, too long or not UTF-8.
    """
    text = read_text(path, _LONGEST_RUBRIC, "a rubric")
    if not text.strip():
        raise ConfigError(f"{path}: the rubric is empty")
    return text


def check_critics(critics: Sequence[Critic], settings: CritiqueSettings) -> None:
    """Raise ConfigError if there is no critic, two have one name, or samples could not differ."""
    if not critics:
        raise ConfigError("no critic: name a model and an endpoint")
    twice = [name for name, count in Counter(critic.title for critic in critics).items() if count > 1]
    if twice:
        raise ConfigError(f"two critics have the name {twice[0]!r}; names must differ")
    still = [critic.title for critic in critics if critic.temperature == 0]
    if settings.samples > 1 and still:
        raise ConfigError(
            f"{settings.samples} samples of {still[0]!r} at temperature 0 are one and the same: set a temperature"
        )
