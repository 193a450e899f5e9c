"""Gold labels of annotated rows, to be underlined: the input's own, or those of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from asr_data.errors import ConfigError
from asr_data.rows.columns import column_type, column_value
from asr_data.rows.labels import LabelUnit, label_unit, parse_labels
from asr_data.storage import AnnotatedDirectory
from asr_data.types import Label, Row, Side
from asr_data.view.reading import layout_of

Labels: TypeAlias = tuple[Label, ...]
GoldReader: TypeAlias = Callable[[Row], Mapping[Side, Labels]]
"""The gold labels of a row's responses; a side without any is missing. Raises ``RowRejected`` where they do not fit."""

FAULTY_BELOW: Final = 0.5
"""A label with a lower reward marks a fault."""


def gold_reader(annotated: AnnotatedDirectory, gold: str | None = None) -> GoldReader | None:
    """How gold labels of this directory's rows are read.

    Args:
        annotated: the directory.
        gold: ``COLUMN``, or ``SIDE=COLUMN,…``; None for the labels that its layout knows.

    Returns:
        None where nothing was named and the layout knows of no labels.

    Raises:
        ConfigError: no such column or response, or a column that could be of either response.
        InputError: a column that holds no labels.
    """
    layout, sides = layout_of(annotated), annotated.manifest.sides
    if gold is None:
        return _own_labels if layout.format is not None or layout.label_units else None
    if "=" not in gold:
        if len(sides) == 2:
            raise ConfigError(f"--gold {gold}: labels of which response? Name it: --gold {sides[1]}={gold}")
        gold = f"{sides[0]}={gold}"
    schema = annotated.schema()
    columns: dict[str, tuple[str, LabelUnit]] = {}
    for part in gold.split(","):
        side, _, column = part.partition("=")
        if side not in sides:
            raise ConfigError(f"--gold {part}: there is no such response; there is {', '.join(sides)}")
        kind = column_type(schema, column)
        if kind is None:
            inputs = ", ".join(annotated.manifest.input.column_types)
            raise ConfigError(f"--gold {part}: there is no such column; the input has {inputs}")
        columns[side] = column, label_unit(kind, column)
    return lambda row: _labels_of_columns(row, columns)


def _own_labels(row: Row) -> Mapping[Side, Labels]:
    return {one.side: one.labels for one in row.completions if one.labels}


def _labels_of_columns(row: Row, columns: Mapping[str, tuple[str, LabelUnit]]) -> Mapping[Side, Labels]:
    found: dict[Side, Labels] = {}
    for one in row.completions:
        if one.side in columns:
            column, unit = columns[one.side]
            found[one.side] = parse_labels(column_value(row.source, column), unit, one.content, column)
    return {side: labels for side, labels in found.items() if labels}
