"""Groups of options: a command takes one as a parameter, and Typer sees the group's options in its place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Protocol, get_type_hints, runtime_checkable


@runtime_checkable
class OptionGroup(Protocol):
    """A type whose options are computed; it is made from what the user typed, by parameter name."""

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """The options, as keyword-only parameters with Typer's annotations."""
        ...


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its groups in place of each group: dataclasses and ``OptionGroup`` types."""
    kinds = get_type_hints(command, include_extras=True)
    plain: dict[str, inspect.Parameter] = {}
    groups: dict[str, tuple[Any, list[str]]] = {}
    for name, original in inspect.signature(command).parameters.items():
        found = _group_parameters(kinds[name])
        if found is None:
            found = [original.replace(annotation=kinds[name], kind=inspect.Parameter.KEYWORD_ONLY)]
        else:
            groups[name] = (kinds[name], [one.name for one in found])
        plain |= {one.name: one for one in found}

    def flat(**typed: Any) -> None:
        given = {name: _made(kind, {one: typed.pop(one) for one in own}) for name, (kind, own) in groups.items()}
        command(**given, **typed)

    flat.__name__, flat.__doc__, flat.__annotations__ = command.__name__, command.__doc__, {}
    flat.__signature__ = inspect.Signature(list(plain.values()))  # type: ignore[attr-defined] # read by inspect
    return flat


def _group_parameters(kind: Any) -> list[inspect.Parameter] | None:
    if isinstance(kind, OptionGroup):
        return kind.parameters()
    if not is_dataclass(kind):
        return None
    kinds = get_type_hints(kind, include_extras=True)
    return [parameter(field.name, kinds[field.name], field.default) for field in fields(kind)]


def parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """An option as a keyword-only parameter."""
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _made(kind: Callable[..., Any], typed: dict[str, Any]) -> Any:
    return kind(**typed) if is_dataclass(kind) else kind(typed)
