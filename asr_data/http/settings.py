"""Settings that everything which asks servers has."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

Timeout: TypeAlias = Annotated[float, Field(gt=0, description="Time for one request and its whole answer, in seconds.")]
Retries: TypeAlias = Annotated[
    int,
    Field(
        ge=0,
        description="Retries of a request that timed out or got status 408, 409, 429 or 5xx, with growing waits.",
    ),
]
