"""Settings as the text of a command line, and back: both follow from the fields of the settings classes.

``--delta auto:2`` is ``Schmitt(delta="auto", k=2)``. What is printed here can be typed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from asr_data.config import BaselineConfig, MaskConfig, SegmenterConfig, WeightConfig
from asr_data.errors import ConfigError
from asr_data.settings import MultipleOf, field_type, mark, members, models, number_form

Model = TypeVar("Model", bound=BaseModel)

# --- from settings to text -------------------------------------------------------------------------------


def mask_text(config: MaskConfig) -> str:
    """The options that give these settings, in full where they matter: ``--segmenter schmitt --delta auto:1 …``."""
    shown = ("segmenter", "baseline", "reward", "segment_reward")
    changed = [name for name in MaskConfig.model_fields if name not in shown]
    rest = [name for name in changed if getattr(config, name) != MaskConfig.model_fields[name].default]
    words = [
        segmenter_text(config.segmenter),
        f"--baseline {baseline_text(config.baseline)}",
        *(
            option(name) if getattr(config, name) is True else f"{option(name)} {value_text(config, name)}"
            for name in (*shown[2:], *rest)
        ),
    ]
    return " ".join(words)


def segmenter_text(segmenter: SegmenterConfig) -> str:
    """``--segmenter optimal --penalty bic --boundary word=50``."""
    given = [f"{option(name)} {value_text(segmenter, name)}" for name in option_fields(type(segmenter), segmenter)]
    return " ".join([f"--segmenter {segmenter.kind}", *given])


def baseline_text(baseline: BaselineConfig) -> str:
    """``pair``, ``dataset:0.3``, ``running:0.99`` or a number."""
    values = [value_text(baseline, name) for name in option_fields(type(baseline))]
    return values[0] if is_number(type(baseline)) else ":".join([baseline.kind, *values])


def weights_text(weights: WeightConfig) -> str:
    """``mask``, ``share:0.3`` or ``soft:high=2``, without settings that are the default."""
    names = list(option_fields(type(weights)))
    if any(field.is_required() for field in type(weights).model_fields.values()):
        return f"{weights.kind}:{value_text(weights, names[0])}"
    changed = [name for name in names if getattr(weights, name) != type(weights).model_fields[name].default]
    pairs = ",".join(f"{hyphened(name)}={value_text(weights, name)}" for name in changed)
    return f"{weights.kind}:{pairs}" if pairs else weights.kind


def value_text(settings: BaseModel, name: str) -> str:
    """One setting: ``0.25``, ``auto:2`` or ``word=50,clause=10``."""
    value = getattr(settings, name)
    if name == "weights":
        return weights_text(value)
    factor = _factor(type(settings), name)
    if factor is not None and value == "auto":
        return f"auto:{_plain(getattr(settings, factor))}"
    if value is None:
        if not models(field_type(type(settings).model_fields[name])):
            return "none"
        [model] = models(field_type(type(settings).model_fields[name]))
        value = model()
    if isinstance(value, BaseModel):
        changed = value.model_dump(exclude_defaults=True) or dict(list(value.model_dump().items())[:1])
        return ",".join(f"{hyphened(key)}={_plain(number)}" for key, number in changed.items())
    return _plain(value)


# --- from text to settings -------------------------------------------------------------------------------


def segmenter_kinds() -> tuple[str, ...]:
    """The names of all segmenters."""
    return tuple(kind_of(model) for model in models(SegmenterConfig))


def parse_baseline(text: str) -> BaselineConfig:
    """A number, ``sequence``, ``pair``, ``dataset[:mean|median|0.3]`` or ``running[:0.99]``.

    Raises:
        ConfigError: it is none of them.
    """
    head, colon, detail = text.partition(":")
    baselines: list[Any] = models(BaselineConfig)
    for model in baselines:
        names = list(option_fields(model))
        if is_number(model):
            number = _number_or_none(text, model, names[0])
            if number is not None:
                return model(**{names[0]: number})
        elif head == kind_of(model) and not colon:
            return model()
        elif head == kind_of(model) and names:
            return model(**parse(model, names[0], detail, "--baseline", f"{head}:"))
    raise ConfigError(f"--baseline is {text!r}: expected {either(_baseline_forms())}")


def parse_weights(text: str) -> WeightConfig:
    """``mask``, ``segment``, ``soft[:low=X,high=X]``, ``share:X`` or ``confidence``.

    Raises:
        ConfigError: it is none of them.
    """
    head, colon, detail = text.partition(":")
    rules: list[Any] = models(WeightConfig)
    for model in rules:
        names = list(option_fields(model))
        if head != kind_of(model) or bool(colon) > bool(names):
            continue
        if is_number(model):
            if colon:
                return model(**parse(model, names[0], detail, "--weights", f"{head}:"))
        elif not colon:
            return model()
        else:
            return _parse_weight_pairs(model, detail)
    raise ConfigError(f"--weights is {text!r}: expected {either(weight_shapes())}")


def _parse_weight_pairs(model: type[Model], detail: str) -> Model:
    try:
        return _parse_pairs(model, detail, "--weights")
    except ConfigError as error:  # one that the numbers together do not fit
        raise ConfigError(str(error).replace(f"{model.__name__} is invalid", "--weights is invalid")) from None


def weight_shapes() -> list[str]:
    """What may be typed for ``--weights``: ``mask``, ``soft[:low=X,high=X]``, ``share:X``, …."""
    found: list[str] = []
    for model in models(WeightConfig):
        names = list(option_fields(model))
        pairs = ",".join(f"{hyphened(name)}=X" for name in names)
        detail = "" if not names else f":{metavar(model, names[0])}" if is_number(model) else f"[:{pairs}]"
        found.append(kind_of(model) + detail)
    return found


def parse(model: type[BaseModel], name: str, text: str, given_as: str, prefix: str = "") -> dict[str, Any]:
    """The setting ``name`` from its text, and its factor where the text has one.

    Raises:
        ConfigError: naming the option, the text and what is allowed.
    """
    annotation = field_type(model.model_fields[name])
    for submodel in models(annotation):
        return {name: _parse_pairs(submodel, text, given_as)}
    factor = _factor(model, name)
    head, colon, multiple = text.partition(":")
    if text in _words(annotation):
        return {name: text}
    if factor is not None and colon and head == "auto":
        number = _number_or_none(multiple, model, factor)
        if number is not None:
            return {name: "auto", factor: number}
    else:
        number = _number_or_none(text, model, name)
        if number is not None:
            return {name: number}
    raise ConfigError(f"{given_as} is {prefix + text!r}: expected {either(_prefixed(prefix, text_forms(model, name)))}")


def text_forms(model: type[BaseModel], name: str) -> list[str]:
    """What may be typed: ``["a finite number >= 0", "auto", "auto:K with a finite number K > 0"]``."""
    found: list[str] = []
    for kind, constraints in members(field_type(model.model_fields[name])):
        if get_origin(kind) is Literal:
            found += [str(word) for word in get_args(kind)]
        elif kind in (float, int):
            found.append(number_form(kind, constraints))
    factor = _factor(model, name)
    if factor is not None:
        [(kind, constraints)] = members(field_type(model.model_fields[factor]))
        found.append(f"auto:K with K {number_form(kind, constraints)}")
    return found


def metavar(model: type[BaseModel], name: str) -> str:
    """The shape of an option's value: ``X|auto|auto:K``."""
    found: list[str] = []
    for kind, _ in members(field_type(model.model_fields[name])):
        if get_origin(kind) is Literal:
            found += get_args(kind)
        elif kind in (float, int):
            found.append("N" if kind is int else "X")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found.append("NAME=X,…")
    return "|".join([*found, *(["auto:K"] if _factor(model, name) else [])])


def option_fields(model: type[BaseModel], given: BaseModel | None = None) -> Iterator[str]:
    """The fields that have an option of their own; of ``given`` settings, without those that a dump leaves out."""
    for name, field in model.model_fields.items():
        if name == "kind" or mark(field, MultipleOf) is not None:
            continue
        if given is None or field.exclude_if is None or not field.exclude_if(getattr(given, name)):
            yield name


def kind_of(model: type[BaseModel]) -> str:
    """The name of a member of a union."""
    return str(model.model_fields["kind"].default)


def summary(model: type[BaseModel]) -> str:
    """What it is, from the first paragraph of its docstring."""
    return " ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split())


def option(name: str) -> str:
    """``--sequence-reward`` for ``sequence_reward``."""
    return f"--{hyphened(name)}"


def hyphened(name: str) -> str:
    """``inside-word`` for ``inside_word``."""
    return name.replace("_", "-")


def either(allowed: list[str]) -> str:
    """``a, b or c``."""
    return allowed[0] if len(allowed) == 1 else f"{', '.join(allowed[:-1])} or {allowed[-1]}"


def _parse_pairs(model: type[Model], text: str, given_as: str) -> Model:
    places = {hyphened(name): name for name in option_fields(model)}
    found: dict[str, Any] = {}
    for name, value in name_value_pairs(given_as, text, list(places)).items():
        field = places[name]
        found[field] = _number_or_none(value, model, field)
        if found[field] is None:
            expected = either(text_forms(model, field))
            raise ConfigError(f"{given_as} is {value!r}: expected {expected} for {name}")
    return model(**found)


def name_value_pairs(given_as: str, text: str, names: list[str] | None) -> dict[str, str]:
    """``{"word": "50"}`` from ``word=50``; ``names`` are the allowed ones, None for any."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ConfigError(f"{given_as} is {text!r}: expected NAME=VALUE,NAME=VALUE")
        if names is not None and name not in names:
            raise ConfigError(f"{given_as} names {name!r}: expected {', '.join(names)}")
        if name in found:
            raise ConfigError(f"{given_as} names {name!r} twice")
        found[name] = value
    return found


def _number_or_none(text: str, model: type[BaseModel], name: str) -> float | int | None:
    """The number, if the text is one that the field allows."""
    for kind, constraints in members(field_type(model.model_fields[name])):
        if kind not in (float, int):
            continue
        try:
            value = kind(text)
            checked = TypeAdapter(Annotated[kind, *constraints] if constraints else kind).validate_python(value)
        except (ValueError, ValidationError):
            continue
        if math.isfinite(checked):
            return checked
    return None


def _factor(model: type[BaseModel], name: str) -> str | None:
    """The field that is the factor of this one's ``auto``."""
    for other, field in model.model_fields.items():
        found = mark(field, MultipleOf)
        if found is not None and found.field == name:
            return other
    return None


def _words(annotation: Any) -> list[str]:
    return [word for kind, _ in members(annotation) if get_origin(kind) is Literal for word in get_args(kind)]


def is_number(model: type[BaseModel]) -> bool:
    """Whether its text is its one required setting alone."""
    return any(field.is_required() for field in model.model_fields.values())


def _baseline_forms() -> list[str]:
    found: list[str] = []
    for model in models(BaselineConfig):
        forms = [form for name in option_fields(model) for form in text_forms(model, name)]
        found += forms if is_number(model) else [kind_of(model), *_prefixed(f"{kind_of(model)}:", forms)]
    return found


def _prefixed(prefix: str, allowed: list[str]) -> list[str]:
    """The forms after a prefix: ``dataset:mean``, ``dataset:X with X a finite number``."""
    if not prefix:
        return allowed
    return [f"{prefix}X with X {form}" if form.startswith("a ") else prefix + form for form in allowed]


def _plain(value: Any) -> str:
    """As short as gives the same value when it is typed."""
    if isinstance(value, int | float) and float(short := f"{value:g}") == value:
        return short
    return str(value)
