"""The settings page, made from the settings' own fields: a new segmenter, baseline or field appears by itself.

A control is one of

* ``union``: members told apart by ``kind``, each with the fields of its own
* ``choice``: one of some words
* ``flag``: yes or no
* ``number``: a number, with the words that may stand for it (``auto``), the ends of its slider, and the field that is
  the factor of a word (:class:`asr_data.settings.MultipleOf`)
* ``group``: settings of a kind of their own, with fields
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from asr_data.config import MaskConfig
from asr_data.settings import MultipleOf, SweepValues, field_type, mark, members, models

Control = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """What rewards of a directory are like, for the ends of sliders.

    Attributes:
        low, high: of nearly all sequence rewards.
        spread: of nearly all token rewards, highest less lowest; above 0.
    """

    low: float = 0.0
    high: float = 1.0
    spread: float = 1.0


def controls(scale: Scale) -> list[Control]:
    """A control for each setting of segments and masks."""
    return _fields(MaskConfig, scale)


def _fields(model: type[BaseModel], scale: Scale) -> list[Control]:
    found = []
    factors = {one.field: name for name, field in model.model_fields.items() if (one := mark(field, MultipleOf))}
    for name, field in model.model_fields.items():
        if name == "kind" or name in factors.values():
            continue
        control = _control(name, field, scale)
        if name in factors:
            control["factor"] = _control(factors[name], model.model_fields[factors[name]], scale)
        found.append(control)
    return found


def _control(name: str, field: FieldInfo, scale: Scale) -> Control:
    annotation = field_type(field)
    common = {
        "name": name,
        "title": name.replace("_", " "),
        "help": field.description or "",
        "default": None if field.is_required() else _plain(field.get_default(call_default_factory=True)),
    }
    parts = list(members(annotation))
    nested = models(annotation)
    optional = any(kind is NoneType for kind, _ in parts)
    words = [word for kind, _ in parts if get_origin(kind) is Literal for word in get_args(kind)]
    number = next(((kind, marks) for kind, marks in parts if kind in (int, float)), None)
    if nested and all("kind" in model.model_fields for model in nested):
        options = [_member(model, scale) for model in nested]
        return {**common, "sort": "union", "options": options}
    if nested:
        return {**common, "sort": "group", "optional": optional, "fields": _fields(nested[0], scale)}
    if number is not None:
        slider = _slider(name, field, *number, scale)
        return {**common, "sort": "number", "words": words + (["none"] if optional else []), **slider}
    if words:
        return {**common, "sort": "choice", "words": words}
    if any(kind is bool for kind, _ in parts):
        return {**common, "sort": "flag"}
    return {**common, "sort": "text"}


def _member(model: type[BaseModel], scale: Scale) -> Control:
    """One kind of a union, with the settings that it has at its defaults."""
    summary = " ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split())
    kind = model.model_fields["kind"].default
    return {"kind": kind, "help": summary, "fields": _fields(model, scale)}


def _slider(name: str, field: FieldInfo, kind: type, marks: tuple[Any, ...], scale: Scale) -> Control:
    """The ends of a number's slider, and whether it goes by factors."""
    lowest, highest = _bound(marks, "ge", "gt"), _bound(marks, "le", "lt")
    sweep = mark(field, SweepValues)
    usual = [value for value in (field.default, *(sweep.values if sweep else ())) if _is_number(value)]
    linear = {"whole": kind is int, "log": False}
    if kind is int:
        most = max([64, *(2 * value for value in usual)]) if highest is None else highest
        return {"low": int(lowest or 0), "high": int(most), **linear}
    if lowest is not None and highest is not None:
        return {"low": lowest, "high": highest, **linear}
    if lowest is None:
        return {"low": scale.low, "high": scale.high, **linear}
    if _bound(marks, "gt") is not None:  # a factor
        some = [value for value in usual if value > 0] or [1.0]
        return {"low": min(some) / 10, "high": max(some) * 10, "whole": False, "log": True}
    if usual:
        return {"low": lowest, "high": 4 * max(usual), **linear}
    return {"low": lowest, "high": scale.spread**2 if name == "penalty" else scale.spread, **linear}


def _bound(marks: tuple[Any, ...], *names: str) -> float | None:
    found = [getattr(one, name) for one in marks for name in names if getattr(one, name, None) is not None]
    return float(found[0]) if found else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """A default as JSON has it."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def complete(config: MaskConfig) -> dict[str, Any]:
    """All settings as JSON, those that a manifest leaves out among them."""
    return _complete(config)


def _complete(settings: BaseModel) -> dict[str, Any]:
    found: Mapping[str, Any] = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {name: _complete(value) if isinstance(value, BaseModel) else value for name, value in found.items()}
