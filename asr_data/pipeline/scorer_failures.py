"""Scorers that raise: rows are halved until only those at fault are left, and these are rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asr_data.errors import AsrDataError, RowRejected, ScorerError
from asr_data.scoring.protocol import Scored, Scorer
from asr_data.types import RejectedRow, Row

_WHOLE_SHARD = 10
"""A scorer that fails on every one of so many rows is broken; the rows are not."""


def score_or_split(scorer: Scorer, rows: Sequence[Row], on_tokens: Callable[[int], None] | None) -> list[Scored]:
    """What the scorer says of each row; ``scorer_error`` or ``out_of_memory`` for the rows that it raises on.

    Raises:
        ScorerError: the number of answers is wrong, or all of many rows raise.
        AsrDataError: as the scorer raises it: not about a row.
    """
    failures: list[Exception] = []
    answers = _score(scorer, rows, on_tokens, failures)
    if len(failures) == len(rows) >= _WHOLE_SHARD:
        first = failures[0]
        raise ScorerError(
            f"scorer {scorer.info.name!r} raised on each of {len(rows)} rows, from row {rows[0].index} on: "
            f"{type(first).__name__}: {first}"
        ) from first
    return answers


def _score(
    scorer: Scorer, rows: Sequence[Row], on_tokens: Callable[[int], None] | None, failures: list[Exception]
) -> list[Scored]:
    try:
        answers = scorer.score(rows, on_tokens)
    except RowRejected as rejected:
        if len(rows) == 1:
            return [RejectedRow(rows[0].index, rejected.code, rejected.message)]
    except AsrDataError:
        raise
    except Exception as error:  # whatever it is: it may be one row's alone
        if len(rows) == 1:
            failures.append(error)
            code = "out_of_memory" if _is_out_of_memory(error) else "scorer_error"
            return [RejectedRow(rows[0].index, code, f"{scorer.info.name}: {type(error).__name__}: {error}")]
    else:
        if len(answers) != len(rows):
            raise ScorerError(f"scorer {scorer.info.name!r} gave {len(answers)} answers for {len(rows)} rows")
        return answers
    # Outside of the handler: the exception holds on to the memory of the failed call.
    half = len(rows) // 2
    first = _score(scorer, rows[:half], on_tokens, failures)
    return [*first, *_score(scorer, rows[half:], on_tokens, failures)]


def _is_out_of_memory(error: Exception) -> bool:
    """Recognised by name, so that torch is not imported."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
