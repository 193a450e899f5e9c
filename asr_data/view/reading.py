"""Annotated rows of a directory, as Python objects: the first ones, a sample, or those asked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asr_data.errors import InputError
from asr_data.rows import ArrowRecord, normalise
from asr_data.storage import AnnotatedDirectory
from asr_data.types import Row, Text

LONGEST_SHOWN: Final = 400_000
"""Characters of a row that is shown."""
MOST_SAMPLED: Final = 20_000_000
"""Characters of all rows that :func:`showable_sample` gives."""


@dataclass(frozen=True, slots=True)
class AnnotatedRow:
    """One row of ``data/``.

    Attributes:
        position: where it stands in ``data/``, from 0.
        row: the input row, as it was read when it was annotated.
        columns: all its columns, lists as Python lists.
    """

    position: int
    row: Row
    columns: Mapping[str, Any]


def require_segments(annotated: AnnotatedDirectory) -> None:
    """Refuses a directory that was only scored.

    Raises:
        InputError: it has no segments yet.
    """
    if annotated.manifest.stage != "masked":
        raise InputError(
            f"{annotated.path} holds scores and no segments yet: asr-annotate mask {annotated.path} -o DIR"
        )


def require_showable(rows: Sequence[AnnotatedRow]) -> None:
    """Refuses rows whose text is too long to be shown.

    Raises:
        InputError: names the first such row and its size.
    """
    for one in rows:
        if (size := characters(one)) > LONGEST_SHOWN:
            raise InputError(
                f"row {one.row.index} has {size:,} characters, and at most {LONGEST_SHOWN:,} are shown: choose other "
                "rows with --row or --sample, or read it with datasets.load_dataset"
            )


def characters(one: AnnotatedRow) -> int:
    """Of prompt and responses."""
    return sum(map(_characters, [one.row.prompt, *(completion.content for completion in one.row.completions)]))


def _characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(len(str(message.get("content") or "")) for message in text)


def first_rows(annotated: AnnotatedDirectory, count: int) -> list[AnnotatedRow]:
    """The first ``count`` annotated rows."""
    return rows_at(annotated, range(min(count, annotated.manifest.counts.annotated)))


def sampled_rows(annotated: AnnotatedDirectory, count: int, seed: int) -> list[AnnotatedRow]:
    """``count`` annotated rows drawn without replacement, in input order; all where there are fewer."""
    total = annotated.manifest.counts.annotated
    draw = random.Random(seed).sample(range(total), min(count, total))  # noqa: S311 - not for secrets
    return rows_at(annotated, draw)


def showable_sample(annotated: AnnotatedDirectory, count: int, seed: int) -> tuple[list[AnnotatedRow], int]:
    """As :func:`sampled_rows`, without rows that are too long to be shown, and the number of these."""
    left = MOST_SAMPLED

    def fits(one: AnnotatedRow) -> bool:
        nonlocal left
        size = characters(one)
        if size > min(left, LONGEST_SHOWN):
            return False
        left -= size
        return True

    total = annotated.manifest.counts.annotated
    draw = random.Random(seed).sample(range(total), min(count, total))  # noqa: S311 - not for secrets
    found = rows_at(annotated, draw, fits)
    return found, len(draw) - len(found)


def rows_by_index(annotated: AnnotatedDirectory, indices: Sequence[int]) -> list[AnnotatedRow]:
    """The rows with these ``asr_row``, in the order asked for; all pairs of each.

    Raises:
        InputError: a row was rejected (says why) or does not exist (says what does).
    """
    wanted = set(indices)
    column = f"{annotated.manifest.prefix}asr_row"
    positions: dict[int, list[int]] = {}
    place = 0
    for batch in annotated.data_batches(columns=[column]):
        for index in batch.column(0).to_pylist():
            if index in wanted:
                positions.setdefault(index, []).append(place)
            place += 1
    missing = wanted - positions.keys()
    if missing:
        raise InputError(_why_missing(annotated, min(missing)))
    rows = {one.position: one for one in rows_at(annotated, [at for own in positions.values() for at in own])}
    return [rows[at] for index in indices for at in positions[index]]


def _why_missing(annotated: AnnotatedDirectory, index: int) -> str:
    for reject in annotated.rejects():
        if reject.index == index:
            return f"row {index} was rejected: {reject.code}: {reject.message}"
    return f"there is no row {index}: the input has rows 0 to {annotated.manifest.counts.rows - 1}"


def rows_at(
    annotated: AnnotatedDirectory, positions: Collection[int], wanted: Callable[[AnnotatedRow], bool] = lambda _: True
) -> list[AnnotatedRow]:
    """Rows at these positions in ``data/``, in file order, that are wanted; only these become Python objects."""
    require_segments(annotated)
    layout, prefix = annotated.manifest.plan.layout, annotated.manifest.prefix
    found: list[AnnotatedRow] = []
    total = annotated.manifest.counts.annotated
    places = iter(sorted(place for place in set(positions) if 0 <= place < total))
    for batch in annotated.rows_at(sorted(positions)):
        for place in range(batch.num_rows):
            columns = ArrowRecord(batch, place)
            row = normalise(columns[f"{prefix}asr_row"], columns, layout, columns.get(f"{prefix}asr_pair"))
            one = AnnotatedRow(next(places), row, columns)
            found += [one] if wanted(one) else []
    return found
