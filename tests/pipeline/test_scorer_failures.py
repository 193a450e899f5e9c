"""A scorer that raises: the rows at fault are rejected, all others get their rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from asr_data.errors import InputError, RowRejected, ScorerError
from asr_data.pipeline.scorer_failures import score_or_split
from asr_data.pipeline.scoring import rejects_json
from asr_data.scoring.protocol import Scored, ScorerInfo
from asr_data.types import RejectedRow, Row


def rows(count: int) -> list[Row]:
    return [Row(index, {}, "", ()) for index in range(count)]


class Raising:
    """Raises ``errors[index]`` for a row, and MemoryError for more than ``memory`` rows; notes every call."""

    info = ScorerInfo("raising", "rule", "value", "f" * 64)
    tokenizer = None

    def __init__(self, errors: dict[int, Exception], memory: int = 1_000) -> None:
        self.errors, self.memory, self.calls = errors, memory, []

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:
        self.calls.append([row.index for row in rows])
        if len(rows) > self.memory:
            raise MemoryError("too many")
        for row in rows:
            if row.index in self.errors:
                raise self.errors[row.index]
        return [() for _ in rows]


def test_rows_that_raise_are_rejected_and_the_rest_is_scored_once_more_in_halves() -> None:
    scorer = Raising({1: KeyError("x"), 2: RowRejected("too_long", "9 tokens")})
    assert score_or_split(scorer, rows(4), None) == [
        (),
        RejectedRow(1, "scorer_error", "raising: KeyError: 'x'"),
        RejectedRow(2, "too_long", "9 tokens"),
        (),
    ]
    assert scorer.calls == [[0, 1, 2, 3], [0, 1], [0], [1], [2, 3], [2], [3]]


def test_out_of_memory_halves_and_rejects_what_does_not_fit_alone() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch names it."""

    assert score_or_split(Raising({}, memory=2), rows(5), None) == [()] * 5
    found = score_or_split(Raising({3: OutOfMemoryError("CUDA")}), rows(5), None)
    assert found[3] == RejectedRow(3, "out_of_memory", "raising: OutOfMemoryError: CUDA")
    assert found[:3] + found[4:] == [()] * 4


def test_a_scorer_that_raises_on_all_of_many_rows_is_broken() -> None:
    errors: dict[int, Exception] = {index: ValueError("no device") for index in range(10)}
    with pytest.raises(ScorerError, match="raised on each of 10 rows, from row 0 on: ValueError: no device"):
        score_or_split(Raising(errors), rows(10), None)
    assert len(score_or_split(Raising(errors), rows(9), None)) == 9


@pytest.mark.parametrize("error", [InputError("gone"), KeyboardInterrupt()])
def test_what_is_not_about_a_row_goes_through(error: Any) -> None:
    scorer = Raising({1: error})
    with pytest.raises(type(error)):
        score_or_split(scorer, rows(4), None)
    assert len(scorer.calls) == 1


def test_messages_are_the_same_in_every_run() -> None:
    error = ValueError(f"{object()} and {rows} \ud83d")
    assert " at 0x" in str(error)
    (stored,) = rejects_json([RejectedRow(7, "scorer_error", str(error))])
    assert stored == {"index": 7, "code": "scorer_error", "message": "<object object> and <function rows> \\ud83d"}
