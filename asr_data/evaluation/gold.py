"""Where gold labels come from: the data's own labels, a column, columns by side, or a second annotated directory."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.labelling import Entry, gold_spans, last_done, read_entries
from asr_data.response import byte_offsets, response_text
from asr_data.rows import Layout, labelled, normalise, readable, records_of
from asr_data.rows.columns import column_type, column_value, is_text
from asr_data.rows.labels import LabelUnit, label_unit, parse_labels
from asr_data.storage.manifest import MANIFEST_NAME
from asr_data.storage.reader import AnnotatedDirectory, open_output
from asr_data.types import Completion, Label, Row, Side, Text

Labels: TypeAlias = tuple[Label, ...]
GoldReader: TypeAlias = Callable[[Row], Mapping[Side, Labels]]
"""The gold labels of a row's responses; a side without any is missing. Raises ``RowRejected`` where they do not fit."""

RECORDS = 100
"""Rows that are looked at to tell formats apart."""


@dataclass(frozen=True, slots=True)
class Gold:
    """Gold labels of a data set: what they are, for the user, and how a row's are read."""

    description: str
    read: GoldReader


def find_gold(annotated: AnnotatedDirectory, gold: str | None) -> Gold | None:
    """What ``gold`` names.

    Args:
        annotated: the directory that is evaluated.
        gold: a column, ``SIDE=COLUMN,…``, ``format=NAME``, a directory, a journal of labels (``.jsonl``); None for the
            labels that its layout knows.

    Returns:
        None where nothing was named and the layout knows of no labels.

    Raises:
        ConfigError: no such column or side.
        InputError: a column that holds no labels, or that of one side where there are two.
    """
    layout = annotated.manifest.plan.layout
    if gold is None:
        has_labels = layout.format is not None or bool(layout.label_units)
        return Gold("the labels of the input", _own_labels) if has_labels else None
    if (Path(gold) / MANIFEST_NAME).is_file():
        return _second_directory(open_output(Path(gold)))
    if gold.endswith(".jsonl") and Path(gold).is_file():
        return journal_gold(read_entries(Path(gold)), gold)
    schema = annotated.schema().remove_metadata()
    if gold.startswith("format="):
        return _format(gold.removeprefix("format="))
    if "=" in gold:
        return _by_side(schema, layout, gold)
    kind = column_type(schema, gold)
    if kind is None:
        raise ConfigError(f"--gold {gold}: no such column or annotated directory; {_columns(schema, annotated)}")
    name = _format_of(annotated, schema, gold, kind)
    if name is not None:
        return _format(name)
    if len(layout.sides) == 2:
        raise ConfigError(
            f"--gold {gold}: labels of which response? Name it: --gold rejected={gold}, or "
            "--gold chosen=COLUMN,rejected=COLUMN"
        )
    return _by_side(schema, layout, f"{layout.sides[0]}={gold}")


def journal_gold(entries: Iterable[Entry], name: str) -> Gold:
    """Labels that people made with ``asr-annotate view``, found by prompt and response, in whatever row they stand."""
    judged: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in last_done(entries).values():
        judged[_identity(entry.prompt, entry.completion)].append(entry)
    spans = {key: gold_spans(found) for key, found in judged.items()}

    def read(row: Row) -> Mapping[Side, Labels]:
        found = {}
        for completion in row.completions:
            errors = spans.get(_identity(row.prompt, completion.content))
            if errors is not None:
                found[completion.side] = parse_labels(errors, "errors", completion.content, name)
        return {side: labels for side, labels in found.items() if labels}

    return Gold(f"labels in {name}", read)


def _identity(prompt: Text, response: Text) -> tuple[str, str]:
    texts = (prompt if isinstance(prompt, str) else [dict(message) for message in prompt], response_text(response))
    return json.dumps(texts[0], sort_keys=True, ensure_ascii=False, default=str), texts[1]


def _own_labels(row: Row) -> Mapping[Side, Labels]:
    return _labels_of(row.completions)


def _labels_of(completions: Sequence[Completion]) -> Mapping[Side, Labels]:
    return {completion.side: completion.labels for completion in completions if completion.labels}


def _format(name: str) -> Gold:
    if name not in labelled.FORMATS:
        raise ConfigError(f"--gold format={name}: no such format; there are {', '.join(labelled.FORMATS)}")

    def read(row: Row) -> Mapping[Side, Labels]:
        _, completions = labelled.read(name, row.source)
        _check_texts(row, {completion.side: response_text(completion.content) for completion in completions})
        return _labels_of(completions)

    return Gold(f"{labelled.FORMATS[name].title} (format={name})", read)


def _format_of(annotated: AnnotatedDirectory, schema: pa.Schema, column: str, kind: pa.DataType) -> str | None:
    """The known format with labels that the data has by this column, and would not have without it."""
    added = set(annotated.manifest.added_columns())
    columns = pa.schema([field for field in schema if field.name not in added])
    batch = next(annotated.data_batches(RECORDS, columns=columns.names), None)
    records = [] if batch is None else readable(records_of(batch))
    without = pa.schema([field for field in columns if field.name != column.split(".")[0]])
    names = set(labelled.match(columns, records)) - set(labelled.match(without, records))
    return names.pop() if len(names) == 1 and not is_text(kind) else None


def _by_side(schema: pa.Schema, layout: Layout, gold: str) -> Gold:
    columns: dict[str, tuple[str, LabelUnit]] = {}
    for part in gold.split(","):
        side, _, column = part.partition("=")
        kind = column_type(schema, column)
        if side not in layout.sides or kind is None:
            fault = "there is no such response" if side not in layout.sides else "there is no such column"
            raise ConfigError(f"--gold {part}: {fault}; responses are {', '.join(layout.sides)}")
        columns[side] = column, label_unit(kind, column)

    def read(row: Row) -> Mapping[Side, Labels]:
        found: dict[Side, Labels] = {}
        for completion in row.completions:
            if completion.side in columns:
                column, unit = columns[completion.side]
                value = column_value(row.source, column)
                if value is not None:
                    found[completion.side] = parse_labels(value, unit, completion.content, column)
        return {side: labels for side, labels in found.items() if labels}

    return Gold(", ".join(f"{side}={column} ({unit})" for side, (column, unit) in columns.items()), read)


def _second_directory(other: AnnotatedDirectory) -> Gold:
    """Segments that another annotation takes for good are 1, the others 0; those without a reward are unknown."""
    if other.manifest.stage != "masked":
        raise InputError(f"{other.path} holds scores and no masks: asr-annotate mask {other.path} -o DIR")
    theirs = {(row.index, row.pair): (row, labels) for row, labels in _annotations(other)}
    other.check_unchanged()

    def read(row: Row) -> Mapping[Side, Labels]:
        if (row.index, row.pair) not in theirs:
            return {}
        twin, labels = theirs[row.index, row.pair]
        _check_texts(row, {one.side: response_text(one.content) for one in twin.completions})
        return labels

    return Gold(f"the masks of {other.path}", read)


def _annotations(other: AnnotatedDirectory) -> Iterator[tuple[Row, Mapping[Side, Labels]]]:
    prefix = other.manifest.prefix
    layout = other.manifest.plan.layout
    for batch in other.data_batches():
        for record in records_of(batch):
            row = normalise(record[f"{prefix}asr_row"], record, layout, record.get(f"{prefix}asr_pair"))
            yield row, {one.side: _segments_as_labels(one, record, prefix) for one in row.completions}


def _segments_as_labels(completion: Completion, record: Mapping[str, Any], prefix: str) -> Labels:
    start, reward, keep = (
        record[f"{prefix}{completion.side}_{name}"] for name in ("seg_text_start", "seg_reward", "seg_keep")
    )
    text = response_text(completion.content)
    byte = byte_offsets(text)[[*start, len(text)]].tolist()
    return tuple(
        Label(first, last, float(kept == completion.preferred), json.dumps(kept))
        for (first, last), value, kept in zip(pairwise(byte), reward, keep, strict=True)
        if last > first and value is not None
    )


def _check_texts(row: Row, texts: Mapping[Side, str]) -> None:
    for completion in row.completions:
        if texts.get(completion.side) != response_text(completion.content):
            raise RowRejected("label_mismatch", f"the gold labels are of another text than {completion.side}")


def _columns(schema: pa.Schema, annotated: AnnotatedDirectory) -> str:
    added = set(annotated.manifest.added_columns())
    return f"input columns are {', '.join(name for name in schema.names if name not in added)}"
