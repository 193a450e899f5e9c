"""One language model, or two side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from asr_data.errors import ScorerError
from asr_data.scoring.engine import Request
from asr_data.scoring.log_probabilities import LogProbabilityReadout, TwoModels


class LogsAsGiven(torch.nn.Module):
    """A head whose logits are the hidden states' logarithms."""

    rows = 2

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        assert len(hidden) <= self.rows
        return hidden.log()


def test_log_probabilities_by_hand() -> None:
    readout = LogProbabilityReadout(LogsAsGiven())  # type: ignore[arg-type] # a stand-in
    hidden = torch.tensor([[4.0, 3.0, 3.0], [1.0, 1.0, 2.0], [0.5, 0.2, 0.3]])  # sums 10, 4 and 1
    out = readout(hidden, torch.tensor([0, 2, 1]))
    assert out.tolist() == pytest.approx([math.log(0.4), math.log(0.5), math.log(0.2)])
    assert readout(hidden[:0], torch.zeros(0, dtype=torch.int64)).tolist() == []
    with pytest.raises(ScorerError, match="this request has none"):
        readout(hidden, None)


class Given:
    """A model whose readings are known."""

    attention = "tree"

    def __init__(self, *readings: list[float] | None) -> None:
        self.readings = iter(readings)

    def run(self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None) -> list[Any]:
        if on_tokens is not None:
            on_tokens(len(requests))
        found = [next(self.readings) for _ in requests]
        return [None if r is None else np.array(r, np.float32) for r in found]


def test_each_request_goes_to_its_model_and_answers_come_back_in_order() -> None:
    first, second = Given([-1.0, -2.0], None), Given([-2.0, -1.5], [-1.0])
    counts: list[int] = []
    requests = [Request([1], [0], model=model) for model in (1, 0, 0, 1)]
    answers = TwoModels(first, second).run(requests, counts.append)
    assert [None if a is None else a.tolist() for a in answers] == [[-2.0, -1.5], [-1.0, -2.0], None, [-1.0]]
    assert sum(counts) == 2  # of two that both read, tokens are counted once
