"""Whether a server's readings can be right: they are compared before a run, and the difference is recorded.

Servers have returned wrong values after prefix cache hits, cut requests to their context, and run other weights than
their name says. The same requests are answered by the model's own files in this process, or else by the server again,
one at a time and in the opposite order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from asr_data.errors import EngineError
from asr_data.scoring.engine import Request, Runner
from asr_data.scoring.served.runner import ServedRunner
from asr_data.types import Float32

logger = logging.getLogger(__name__)

MOST_REQUESTS: Final = 32
MOST_TOKENS: Final = 16_384
"""Of the requests that are compared, together; one is compared in any case."""
_SMALLEST_SPREAD: Final = 0.05
"""Readings that hardly differ are measured by this share of their mean size."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a server's readings are from others of the same requests.

    Attributes:
        against: ``files``: the model's files, run here; ``server``: the server itself.
        requests: sequences compared.
        readings: numbers compared.
        largest: largest absolute difference.
        relative: root mean square of the differences over the standard deviation of the readings.
    """

    against: Literal["files", "server"]
    requests: int
    readings: int
    largest: float
    relative: float

    def statistics(self) -> Mapping[str, float]:
        """For the manifest."""
        return {
            "engine_largest_difference": self.largest,
            "engine_relative_difference": self.relative,
            "engine_compared_readings": float(self.readings),
            "engine_compared_with_files": float(self.against == "files"),
        }

    def __str__(self) -> str:
        whom = "the model's files, run here" if self.against == "files" else "itself, asked one by one"
        return (
            f"differs from {whom} by {self.largest:.3g} at the most and {self.relative:.2%} of their spread "
            f"({self.readings:,} readings of {self.requests} sequences)"
        )


def sample(requests: Sequence[Request]) -> list[Request]:
    """The first requests that read anything."""
    found: list[Request] = []
    tokens = 0
    for request in requests:
        tokens += len(request.ids)
        if len(found) == MOST_REQUESTS or (found and tokens > MOST_TOKENS):
            break
        if request.read:
            found.append(request)
    return found


def compare(
    against: Literal["files", "server"], found: Sequence[Float32 | None], expected: Sequence[Float32 | None]
) -> Agreement:
    """Compare readings of the same requests; those that do not fit into memory here are left out.

    Raises:
        EngineError: the server gave a number that is not finite, or none could be compared.
    """
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None and b is not None]
    if not pairs:
        raise EngineError("none of the first rows fits into memory here: compare with --engine-check server")
    mine, theirs = (np.concatenate([pair[side] for pair in pairs]).astype(np.float64) for side in (0, 1))
    if not np.isfinite(mine).all():
        raise EngineError(
            f"the server's readings of the first rows hold {int((~np.isfinite(mine)).sum())} numbers of {len(mine)} "
            "that are not finite; a number format with a larger range may help (--dtype bfloat16 or float32 there)"
        )
    if not np.isfinite(theirs).all():
        raise EngineError("the model's files give numbers that are not finite on the first rows; try --dtype float32")
    difference = np.abs(mine - theirs)
    scale = max(float(theirs.std()), _SMALLEST_SPREAD * float(np.abs(theirs).mean()), float(np.finfo(np.float32).tiny))
    relative = float(np.sqrt((difference**2).mean())) / scale
    return Agreement(against, len(pairs), len(mine), float(difference.max()), relative)


class CheckedRunner:
    """Checks a server's readings of the first requests before it asks for others.

    Args:
        runner: asks the server.
        own: loads the model's files; None: the server is compared with itself.
        bound: largest relative difference.

    Attributes:
        agreement: None before the check.
    """

    def __init__(self, runner: ServedRunner, own: Callable[[], Runner] | None, bound: float) -> None:
        self._runner, self._own, self._bound = runner, own, bound
        self.agreement: Agreement | None = None

    @property
    def attention(self) -> str:
        """See :class:`asr_data.scoring.engine.Runner`."""
        return self._runner.attention

    @property
    def measured(self) -> Mapping[str, float]:
        """See :class:`asr_data.scoring.protocol.Measured`."""
        return {} if self.agreement is None else self.agreement.statistics()

    def run(self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None) -> list[Float32 | None]:
        """See :class:`asr_data.scoring.engine.Runner`.

        Raises:
            EngineError: the readings differ by more than the bound; see also :class:`ServedRunner`.
        """
        self.check(requests)
        return self._runner.run(requests, on_tokens)

    def check(self, requests: Sequence[Request]) -> None:
        """Compare the first of these, unless that was done.

        Raises:
            EngineError: the readings differ by more than the bound.
        """
        first = sample(requests)
        if self.agreement is not None or not first:
            return
        found = self._runner.run(first)
        expected = self._runner.run_one_by_one(first) if self._own is None else self._own().run(first)
        agreement = compare("server" if self._own is None else "files", found, expected)
        if agreement.relative > self._bound:
            server = self._runner.servers[0]
            raise EngineError(
                f"{server.program} {server.version} at {server.url} {agreement}, more than the bound of "
                f"{self._bound:.2%} (--engine-bound): another model or number format, a prefix cache that returns "
                "wrong values, or a head that it reads otherwise. Nothing was scored"
            )
        self.agreement = agreement
        self._own = None  # its memory
        logger.info("%s: %s", self._runner.servers[0].url, agreement)
