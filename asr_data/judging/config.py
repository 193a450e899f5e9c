"""Settings of judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from asr_data.endpoints.client import Role
from asr_data.endpoints.config import EndpointModel, ResponseFormat, load_models
from asr_data.errors import ConfigError, JudgeError


class Judge(EndpointModel):
    """One judge: a model behind an OpenAI-compatible endpoint."""

    response_format: Annotated[
        ResponseFormat, Field(description="json_object or json_schema where the server can constrain replies.")
    ] = "text"


JUDGE: Final = Role(
    noun="judge",
    answers="verdicts",
    missing="missing verdicts",
    error=JudgeError,
    form='A reply holds {"verdict": "A", "safety": "A", "accuracy": "A", "helpfulness": "A", "reason": "…"} or '
    '{"judge": "[A]", "tag": ["Safety"], "reason": "…"}, with A, B or a tie',
)
"""Judges in the words of messages."""


def load_judges(path: Path) -> tuple[Judge, ...]:
    """The judges of a JSON file: a list of objects with the fields of :class:`Judge`.

    Raises:
        ConfigError: the file cannot be read, or a judge in it is invalid.
    """
    return load_models(path, Judge)


def check_voters(judges: Sequence[Judge], people: Sequence[str] = ()) -> None:
    """Raise ConfigError if nobody votes, or if two voters, judges or columns of votes, have the same name."""
    if not judges and not people:
        raise ConfigError("no judge: name a model and an endpoint, or columns with votes of people")
    names = Counter([*(judge.title for judge in judges), *people])
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        kind = "judges" if twice[0] not in people else "voters"
        raise ConfigError(f"two {kind} have the name {twice[0]!r}; names must differ")
