"""What the values of a label column mean, where they are names and not plainly true or false."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asr_data.errors import InputError, RowRejected

_PLAIN: Final[dict[Any, bool]] = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
_GIVEN: Final = {"label_true": True, "label_false": False}
_REMEDY: Final = "--columns label_true=NAME (or label_true=NAME|NAME,label_false=NAME|NAME)"


def split_verdicts(columns: Mapping[str, str]) -> tuple[dict[str, str], dict[str, bool]]:
    """``--columns`` without ``label_true`` and ``label_false``, and what these say: value → verdict.

    Raises:
        InputError: a value is said to be both.
    """
    given: dict[str, bool] = {}
    for key, verdict in _GIVEN.items():
        for value in columns[key].split("|") if key in columns else ():
            if given.setdefault(value, verdict) is not verdict:
                raise InputError(f"--columns says both label_true={value} and label_false={value}")
    return {role: column for role, column in columns.items() if role not in _GIVEN}, given


def verdicts(column: str | None, classes: Mapping[str, list[str]], given: Mapping[str, bool]) -> dict[str, bool]:
    """What the values of the label column mean; empty where they are plainly true or false.

    Args:
        column: the label column, or None.
        classes: column → class names, of the columns that have classes.
        given: value → verdict, as the user says.

    Raises:
        InputError: class names of which it is not known which mean a preferred response.
    """
    if column is None:
        if given:
            raise InputError("--columns gives label_true or label_false, but no column is a label")
        return {}
    names = classes.get(column.split(".")[0])
    if names is None:
        if given and set(given.values()) != {True, False}:
            raise InputError(
                f"column {column!r} holds texts: --columns needs both label_true=… and label_false=… to read them"
            )
        return dict(given)
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise InputError(f"--columns: {', '.join(unknown)} is not a class of column {column!r}; {_listed(names)}")
    if given and len(names) == 2 and len(given) == 1:
        ((name, verdict),) = given.items()
        return {one: verdict if one == name else not verdict for one in names}
    if given and set(given.values()) == {True, False}:
        return dict(given)
    if not given and all(name.strip().lower() in _PLAIN for name in names):
        return {}
    raise InputError(
        f"column {column!r} holds class labels, and their names do not say which are preferred: {_listed(names)}; "
        f"say so with {_REMEDY}"
    )


def verdict_of(value: Any, meaning: Mapping[str, bool], column: str) -> bool:
    """Whether a label means a preferred response.

    Args:
        value: the label.
        meaning: what ``verdicts`` gave.
        column: where it stands, for messages.

    Raises:
        RowRejected: ``wrong_type`` where it is neither true nor false, nor one of the names.
    """
    if meaning:
        if not isinstance(value, str) or value not in meaning:
            raise RowRejected("wrong_type", f"column {column!r} is {value!r}, not one of {', '.join(meaning)}")
        return meaning[value]
    key = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(key, bool | int | str) or key not in _PLAIN:
        raise RowRejected(
            "wrong_type",
            f"column {column!r} is {value!r}; a label is true, false, 1 or 0, or a text that --columns label_true=… or "
            "label_false=… names",
        )
    return _PLAIN[key]


def _listed(names: list[str]) -> str:
    return "the classes are " + ", ".join(f"{name} ({index})" for index, name in enumerate(names))
