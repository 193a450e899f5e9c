"""Settings of servers that run a model. A key is named by its environment variable and never stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field

from asr_data.errors import ConfigError
from asr_data.http.address import checked_address
from asr_data.http.settings import Retries, Timeout
from asr_data.settings import Settings

EngineRole: TypeAlias = Literal["model", "reference", "logprobs"]
"""Whose server it is: that of ``--model``, ``--reference`` or ``--logprobs``."""
ROLES: Final[tuple[EngineRole, ...]] = get_args(EngineRole)

KEY_VARIABLE: Final = "ASR_ENGINE_KEY"
"""Environment variable with the servers' API key."""


class EngineSettings(Settings):
    """How servers are asked, and how their answers are checked; has no effect on rewards."""

    concurrency: Annotated[int, Field(ge=1, description="Concurrent requests to each server.")] = 32
    timeout: Timeout = 600.0
    retries: Retries = 5
    check: Annotated[
        Literal["auto", "files", "server"],
        Field(
            description="What the first rows' readings are compared with. files: those of the model's files, run here; "
            "server: its own, asked again in another order and one at a time; auto: files where they are at hand and "
            "fit into half of the memory."
        ),
    ] = "auto"
    bound: Annotated[
        float,
        Field(
            gt=0,
            description="Largest difference in that check: root mean square over the standard deviation of the "
            "readings. More than this stops the run.",
        ),
    ] = 0.1


def _roots(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Where the servers' own paths begin, each once."""
    return tuple(dict.fromkeys(url.removesuffix("/v1") for url in urls))


class ServedModel(Settings):
    """A model behind one server or several, which share the work."""

    urls: Annotated[
        tuple[Annotated[str, AfterValidator(checked_address)], ...], Field(min_length=1), AfterValidator(_roots)
    ]
    """Base URLs; ``/v1`` at their end is left out."""
    name: str = ""
    """At the servers; empty: the model's own."""
    settings: EngineSettings = EngineSettings()


def served_models(
    urls: Sequence[str], names: Sequence[str], settings: EngineSettings
) -> Mapping[EngineRole, ServedModel]:
    """Servers by role, from ``[ROLE=]URL`` and ``[ROLE=]NAME``; without a role they are those of ``model``.

    Raises:
        ConfigError: an invalid URL, or a name without one.
    """
    of_role = _by_role(urls)
    named = _by_role(names)
    for role, given in named.items():
        if role not in of_role:
            raise ConfigError(f"--engine-model {role}={given[0]}: there is no --engine {role}=URL")
        if len(given) > 1:
            raise ConfigError(f"--engine-model: {role} has several names, {', '.join(given)}")
    return {
        role: ServedModel(urls=tuple(found), name=named.get(role, [""])[0], settings=settings)
        for role, found in of_role.items()
    }


def _by_role(given: Sequence[str]) -> dict[EngineRole, list[str]]:
    found: dict[EngineRole, list[str]] = {}
    for text in given:
        role = next((role for role in ROLES if text.startswith(f"{role}=")), None)
        found.setdefault(role or "model", []).append(text if role is None else text.removeprefix(f"{role}="))
    return found
