"""Which of two responses won, where a column names the winner or each response has a score of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from asr_data.errors import InputError, RowRejected
from asr_data.rows.best_and_worst import finite_number

Winner: TypeAlias = Literal["first", "second"]

BY_ID: Final[dict[str, Winner]] = {"0": "first", "1": "second"}
"""Index of the better response, from 0 (PKU-SafeRLHF)."""
FIRST_IS_BETTER: Final[dict[str, Winner]] = {"1": "first", "0": "second"}
"""Whether the first response is better (SHP)."""
BY_NAME: Final[dict[str, Winner]] = {"model_a": "first", "model_b": "second", "a": "first", "b": "second"}
"""The model that won (Chatbot Arena)."""
_PLAIN: Final[dict[str, Winner]] = {**BY_ID, **BY_NAME}
"""How a column is read that ``--columns winner=…`` names."""
_TIES: Final = frozenset({"tie", "tie (bothbad)", "both_bad", "bothbad", "both bad", "both_good", "both good"})
_GIVEN: Final[dict[str, Winner]] = {"winner_first": "first", "winner_second": "second"}


def split_winners(columns: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Winner]]:
    """``--columns`` without ``winner_first`` and ``winner_second``, and what these say: value → which response won.

    Raises:
        InputError: only one of the two is given, one value is said to mean both, or no column is the winner.
    """
    given: dict[str, Winner] = {}
    for key, which in _GIVEN.items():
        for value in columns[key].split("|") if key in columns else ():
            if given.setdefault(value.strip().lower(), which) != which:
                raise InputError(f"--columns says both winner_first={value} and winner_second={value}")
    if given and set(given.values()) != {"first", "second"}:
        raise InputError("--columns needs both winner_first=… and winner_second=… to read other values")
    if given and "winner" not in columns:
        raise InputError("--columns gives winner_first and winner_second, but no column is the winner")
    return {role: column for role, column in columns.items() if role not in _GIVEN}, given


def winners(column: str | None, known: Mapping[str, Winner], given: Mapping[str, Winner]) -> dict[str, Winner]:
    """What the values of a winner column mean; empty where there is none.

    Args:
        column: the column, or None.
        known: how the data set that has this column writes it; empty where the user named the column.
        given: what the user says.
    """
    return {} if column is None else dict(given or known or _PLAIN)


def by_winner(value: Any, meaning: Mapping[str, Winner], column: str) -> tuple[int, int]:
    """Chosen and rejected of two responses.

    Raises:
        RowRejected: ``no_preference`` for a tie, ``wrong_type`` for a value that names no winner.
    """
    text = _as_text(value)
    if text in meaning:
        return (0, 1) if meaning[text] == "first" else (1, 0)
    if text in _TIES:
        raise RowRejected("no_preference", f"column {column!r} is {value!r}: neither response is better")
    raise RowRejected("wrong_type", f"column {column!r} is {value!r}, not one of {', '.join(meaning)} or a tie")


def by_two_scores(first: Any, second: Any, columns: tuple[str, str]) -> tuple[int, int]:
    """Chosen and rejected of two responses with a score each: the higher is better.

    Raises:
        RowRejected: ``no_preference`` where they are equal, ``missing_column`` or ``wrong_type`` where one is no
            finite number, nor a text that is one, as in CSV files.
    """
    one, other = (
        finite_number(_number(value), f"column {column!r}")
        for value, column in zip((first, second), columns, strict=True)
    )
    if one == other:
        raise RowRejected("no_preference", f"columns {columns[0]!r} and {columns[1]!r} are equal: neither is better")
    return (0, 1) if one > other else (1, 0)


def _as_text(value: Any) -> str:
    """``1`` for 1, 1.0, true and ``" 1 "``."""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return str(value).strip().lower()


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return float(value) if value.strip() else None
    except ValueError:
        return value
