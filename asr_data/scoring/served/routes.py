"""From requests of the engine to calls of a server, and back to readings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from asr_data.scoring.engine import Request
from asr_data.types import Float32


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request.

    Attributes:
        path: from the server's root, such as ``/pooling``.
        body: JSON.
        read: the numbers in the body of the answer; raises
            :class:`asr_data.scoring.served.answers.UnusableAnswerError`.
    """

    path: str
    body: dict[str, Any]
    read: Callable[[bytes], Float32]


class Route(Protocol):
    """How a server is asked for the readings of a request.

    ``name`` goes into the manifest; ``beyond`` is how many tokens the server adds to a request, which its context must
    hold, too.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - the class says it

    @property
    def beyond(self) -> int: ...  # noqa: D102 - the class says it

    def calls(self, request: Request) -> list[Call]:
        """What to ask."""
        ...

    def values(self, request: Request, answers: Sequence[Float32]) -> Float32:
        """Readings float32 ``[len(read)]`` from the answers to the calls, in order."""
        ...


@dataclass(frozen=True, slots=True)
class TokenOutputs:
    """One call gives the outputs of every token.

    Attributes:
        name: see :class:`Route`.
        ask: ids to a call that reads float32 ``[tokens, width]``.
        finish: outputs ``[n, width]`` to rewards ``[n]``.
        beyond: see :class:`Route`.
    """

    name: str
    ask: Callable[[list[int]], Call]
    finish: Callable[[Tensor], Tensor]
    beyond: int = 0

    def calls(self, request: Request) -> list[Call]:
        """See :class:`Route`."""
        return [self.ask(request.ids)]

    def values(self, request: Request, answers: Sequence[Float32]) -> Float32:
        """See :class:`Route`."""
        return finished(self.finish, answers[0][request.read])


@dataclass(frozen=True, slots=True)
class LastOutputs:
    """One call for each position that is read: a causal model's output there does not depend on what follows.

    Attributes:
        name: see :class:`Route`.
        ask: ids to a call that reads float32 ``[1, width]``, the output of the last token.
        finish: outputs ``[n, width]`` to rewards ``[n]``.
        beyond: see :class:`Route`.
    """

    name: str
    ask: Callable[[list[int]], Call]
    finish: Callable[[Tensor], Tensor]
    beyond: int = 0

    def calls(self, request: Request) -> list[Call]:
        """See :class:`Route`."""
        return [self.ask(request.ids[: position + 1]) for position in request.read]

    def values(self, request: Request, answers: Sequence[Float32]) -> Float32:
        """See :class:`Route`."""
        del request
        return finished(self.finish, np.concatenate(answers)) if answers else np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class PromptLogProbabilities:
    """One call gives the log-probability of every token but the first; targets are the request's own tokens.

    Attributes:
        name: see :class:`Route`.
        ask: ids to a call that reads float32 ``[tokens - 1]``.
        beyond: see :class:`Route`.
    """

    name: str
    ask: Callable[[list[int]], Call]
    beyond: int

    def calls(self, request: Request) -> list[Call]:
        """See :class:`Route`."""
        following = [request.ids[position + 1] for position in request.read]
        if request.target != following:
            raise ValueError("a server gives log-probabilities of the sequence's own tokens alone")
        return [self.ask(request.ids)] if request.read else []

    def values(self, request: Request, answers: Sequence[Float32]) -> Float32:
        """See :class:`Route`."""
        return answers[0][request.read] if answers else np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class LabelProbabilities:
    """The probability of the good label after each position that is read.

    Attributes:
        name: see :class:`Route`.
        ask: ids and positions to calls that read float32 ``[n, 2]`` each, the log-probabilities of the good and the bad
            label after some of the positions, in order.
        pair: whether the probability is shared out among the two alone.
        beyond: see :class:`Route`.
    """

    name: str
    ask: Callable[[list[int], list[int]], list[Call]]
    pair: bool
    beyond: int

    def calls(self, request: Request) -> list[Call]:
        """See :class:`Route`."""
        return self.ask(request.ids, request.read) if request.read else []

    def values(self, request: Request, answers: Sequence[Float32]) -> Float32:
        """See :class:`Route`."""
        if not request.read:
            return np.zeros(0, np.float32)
        labels = torch.from_numpy(np.concatenate(answers))
        good = labels.softmax(-1)[:, 0] if self.pair else labels[:, 0].exp()
        return good.numpy()


@torch.inference_mode()
def finished(finish: Callable[[Tensor], Tensor], outputs: Float32) -> Float32:
    """Outputs float32 ``[n, width]`` to rewards float32 ``[n]``."""
    return finish(torch.from_numpy(np.ascontiguousarray(outputs))).float().numpy()
