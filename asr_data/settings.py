"""What all settings have in common: frozen pydantic models whose fields carry their own help text.

A field is declared once. Its ``description`` is the help text of the command-line option and of the settings page, its
type says what is allowed in every error message, and the two marks below say the rest. Torch-free and numba-free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from asr_data.errors import ConfigError

Mark = TypeVar("Mark", "MultipleOf", "SweepValues")


@dataclass(frozen=True, slots=True)
class MultipleOf:
    """Marks a field as the factor K of another field's ``auto``: on the command line ``--delta auto:K``."""

    field: str


@dataclass(frozen=True, slots=True, init=False)
class SweepValues:
    """Marks a field with the values that ``evaluate --sweep`` tries."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown names, finite numbers only.

    ``hide_input_in_errors`` in a class's ``model_config`` keeps its values out of messages: one may be a secret.

    Raises:
        ConfigError: a wrong name or value; the message has each with what is allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(explain(type(self), error)) from None

    # Tells pydantic that it may build nested settings without this constructor: a damaged file is its reader's error.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """As pydantic's, with ConfigError for what is wrong."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise ConfigError(explain(cls, error)) from None


def swept(union: Any) -> tuple[Any, ...]:
    """Every member of a union of settings at every combination of its ``SweepValues``, else at its defaults.

    A member that has a required setting without such values is left out.
    """
    found: list[Any] = []
    for model in models(union):
        values = {name: one.values for name, field in model.model_fields.items() if (one := mark(field, SweepValues))}
        if set(values) >= {name for name, field in model.model_fields.items() if field.is_required()}:
            found += [model(**dict(zip(values, chosen, strict=True))) for chosen in product(*values.values())]
    return tuple(found)


def explain(settings: type[BaseModel], error: ValidationError) -> str:
    """One line for each wrong setting: its name, what was given, and what is allowed."""
    problems: dict[tuple[str, ...], str] = {}
    for found in error.errors(include_url=False):
        names, problem = _problem(settings, found)
        problems.setdefault(names, problem)  # a union reports once per member
    lines = [f"{'.'.join((settings.__name__, *names))} {problem}" for names, problem in problems.items()]
    return lines[0] if len(lines) == 1 else f"{len(lines)} settings are wrong:" + "".join(f"\n  {one}" for one in lines)


def _problem(settings: type[BaseModel], found: ErrorDetails) -> tuple[tuple[str, ...], str]:
    """The path of the field and what is wrong with it."""
    names: list[str] = []
    model: type[BaseModel] | None = settings
    annotation: Any = settings
    for part in map(str, found["loc"]):
        if model is not None and part in model.model_fields:
            names.append(part)
            annotation = field_type(model.model_fields[part])
            model = _only_model(annotation)
        elif (member := _member(annotation, part)) is not None:
            model = annotation = member
        elif found["type"] == "extra_forbidden":
            names.append(part)
    if found["type"] == "extra_forbidden":
        allowed = ", ".join((model or settings).model_fields)
        return tuple(names), f"is not a setting; allowed are {allowed}"
    if found["type"] == "missing":
        return tuple(names), f"is missing: expected {_or(forms(annotation))}"
    if found["type"] == "value_error":
        return tuple(names), f"is invalid: {found['msg'].removeprefix('Value error, ')}"
    if settings.model_config.get("hide_input_in_errors"):
        return tuple(names), f"is invalid: expected {_or(forms(annotation))}"
    return tuple(names), f"is {_short(found['input'])}: expected {_or(forms(annotation))}"


def field_type(field: FieldInfo) -> Any:
    """The field's type with its own constraints, as ``Annotated`` where it has any."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def forms(annotation: Any) -> list[str]:
    """What a type allows, a form an entry: ``["a finite number >= 0", '"auto"']``."""
    found: list[str] = []
    tagged = [model for model in models(annotation) if "kind" in model.model_fields]
    for kind, constraints in members(annotation):
        if kind in tagged:
            found.append(f"{kind.__name__}(…)" if _has_required(kind) else f'"{kind.model_fields["kind"].default}"')
        elif get_origin(kind) is Literal:
            found += [f'"{value}"' for value in get_args(kind)]
        elif kind is NoneType:
            found.append("None")
        elif kind in (float, int):
            found.append(number_form(kind, constraints))
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found.append(f"{kind.__name__}(…)")
        elif kind is str:
            found.append(_text_form(constraints))
        elif get_origin(kind) is tuple:
            found.append(f"a list of {_or(forms(get_args(kind)[0]))}")
        else:
            found.append({bool: "True or False"}.get(kind, str(kind)))
    return [*found, f"an object such as {tagged[0].__name__}(…)"] if tagged else found


def members(annotation: Any, constraints: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The members of a union type in order, each with its constraints; other types are their only member."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        flat = [one for mark in marks for one in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]
        yield from members(inner, (*constraints, *flat))
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from members(member, constraints)
    else:
        yield annotation, constraints


def number_form(kind: type, constraints: tuple[Any, ...]) -> str:
    """``a finite number > 0``, ``a whole number >= 1`` or ``a finite number >= 0 and <= 1``."""
    bounds = [
        f"{sign} {getattr(mark, name):g}"
        for mark in constraints
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if getattr(mark, name, None) is not None
    ]
    return " ".join(["a whole number" if kind is int else "a finite number", " and ".join(bounds)]).strip()


def _text_form(constraints: tuple[Any, ...]) -> str:
    """``text``, ``text that is not empty`` or ``text of the form ^[a-z]+$``."""
    for mark in constraints:
        if getattr(mark, "pattern", None) is not None:
            return f"text of the form {mark.pattern}"
    return "text that is not empty" if any(getattr(mark, "min_length", 0) for mark in constraints) else "text"


def mark(field: FieldInfo, sort: type[Mark]) -> Mark | None:
    """The field's mark of this sort, such as ``SweepValues``, or None."""
    return next((one for one in field.metadata if isinstance(one, sort)), None)


def models(annotation: Any) -> list[type[BaseModel]]:
    """The members of a union type that are models, in order."""
    return [kind for kind, _ in members(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _only_model(annotation: Any) -> type[BaseModel] | None:
    found = models(annotation)
    return found[0] if len(found) == 1 else None


def _member(annotation: Any, tag: str) -> type[BaseModel] | None:
    """The member of a union that pydantic names in the place of an error: by its ``kind``, or its class."""
    for model in models(annotation):
        kind = model.model_fields.get("kind")
        if tag == (model.__name__ if kind is None else kind.default):
            return model
    return None


def _or(allowed: list[str]) -> str:
    return allowed[0] if len(allowed) == 1 else f"{', '.join(allowed[:-1])} or {allowed[-1]}"


def _has_required(model: type[BaseModel]) -> bool:
    return any(field.is_required() for field in model.model_fields.values())


def _short(value: Any) -> str:
    text = repr(value["kind"] if isinstance(value, dict) and set(value) == {"kind"} else value)
    return text if len(text) <= 80 else f"{text[:77]}…"
