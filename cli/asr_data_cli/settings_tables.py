"""``python -m asr_data_cli.settings_tables docs/segments.md``: the tables of that page, from the settings."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from asr_data.config import BaselineConfig, MaskConfig, SegmenterConfig, WeightConfig
from asr_data.settings import models
from asr_data_cli.setting_text import (
    is_number,
    kind_of,
    metavar,
    option,
    option_fields,
    summary,
    value_text,
    weight_shapes,
)

_TABLE = re.compile(r"(<!-- table: (?P<name>\w+), .*? -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with each table made anew, between ``<!-- table: NAME, … -->`` and ``<!-- end of table -->``."""
    tables = settings_tables()
    return _TABLE.sub(lambda found: f"{found[1]}\n{tables[found['name']]}\n", page)


def settings_tables() -> Mapping[str, str]:
    """The tables by name, as Markdown."""
    return {
        "segmenters": _table(("`--segmenter`", "rule", "settings"), _segmenters()),
        "baselines": _table(("`--baseline`", "b"), _baselines()),
        "weights": _table(("`--weights`", "weight of a kept token"), _weights()),
        "others": _table(("option", "what it sets", "default"), _others()),
    }


def _segmenters() -> Iterator[tuple[str, ...]]:
    for model in models(SegmenterConfig):
        name = f"`{kind_of(model)}`" + (" (default)" if _is_default(model) else "")
        settings = [_setting(model, field) for field in option_fields(model)]
        yield name, summary(model), " ".join(settings)


def _setting(model: type[BaseModel], field: str) -> str:
    shape = f"`{option(field)} {metavar(model, field)}`"
    return f"{shape}: {model.model_fields[field].description} Default: {value_text(model(), field)}."


def _baselines() -> Iterator[tuple[str, ...]]:
    for model in models(BaselineConfig):
        shapes = [metavar(model, field) for field in option_fields(model)]
        forms = shapes if is_number(model) else [kind_of(model), *(f"{kind_of(model)}:{shape}" for shape in shapes)]
        default = " (default)" if _is_default(model) else ""
        named = [] if is_number(model) else option_fields(model)
        details = [f"{model.model_fields[name].description} Default: {value_text(model(), name)}." for name in named]
        yield ", ".join(f"`{form}`" for form in forms) + default, " ".join([summary(model), *details])


def _weights() -> Iterator[tuple[str, ...]]:
    for model, shape in zip(models(WeightConfig), weight_shapes(), strict=True):
        default = " (default)" if type(MaskConfig().weights) is model else ""
        details = [
            f"`{name}`: {model.model_fields[name].description}"
            + ("" if is_number(model) else f" Default: {value_text(model(), name)}.")
            for name in option_fields(model)
        ]
        yield f"`{shape}`{default}", " ".join([summary(model), *details])


def _others() -> Iterator[tuple[str, ...]]:
    for name, field in MaskConfig.model_fields.items():
        if name not in ("segmenter", "baseline", "weights"):
            shape, default = metavar(MaskConfig, name), "off" if field.default is False else field.default
            yield f"`{f'{option(name)} {shape}'.rstrip()}`", str(field.description), f"`{default}`"


def _is_default(model: type[BaseModel]) -> bool:
    default = MaskConfig()
    return type(default.segmenter) is model or type(default.baseline) is model


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines: list[tuple[Any, ...]] = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        file.write_text(with_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
