"""The output directory: the input with its error spans, all critiques, a card, and ``critique.json``, written last."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from asr_data.critique.card import card
from asr_data.critique.config import CRITIC
from asr_data.critique.figures import Figures, as_record
from asr_data.critique.journal import JOURNAL_NAME
from asr_data.endpoints.journal import prepare as prepare_directory
from asr_data.rows import to_arrow
from asr_data.storage.columns import with_added
from asr_data.storage.commit import FileRecord, commit_bytes, commit_parquet
from asr_data.types import RejectedRow, Side
from asr_data_schemas import REJECTS_SCHEMA

MANIFEST_NAME: Final = "critique.json"
CARD_NAME: Final = "README.md"
FILES: Final = {
    "default": "data/train-00000.parquet",
    "critiques": "critiques/train-00000.parquet",
    "rejects": "rejects/train-00000.parquet",
}
"""Config of the data set to its file; ``rejects`` only if there are any."""

_SPAN: Final[list[tuple[str, pa.DataType]]] = [
    ("start", pa.int32()),
    ("end", pa.int32()),
    ("type", pa.string()),
    ("severity", pa.string()),
    ("reason", pa.string()),
    ("votes", pa.int32()),
    ("critics", pa.int32()),
]
SPANS_TYPE: Final = pa.list_(pa.struct(_SPAN))
"""A column ``S_spans``: null where nothing is known of the response, empty where nothing is wrong with it."""

_FAULT: Final[list[tuple[str, pa.DataType]]] = [
    ("quote", pa.string()),
    ("type", pa.string()),
    ("severity", pa.string()),
    ("reason", pa.string()),
]
_CRITIQUE_COLUMNS: Final[list[tuple[str, pa.DataType]]] = [
    ("row", pa.int64()),
    ("side", pa.string()),
    ("critic", pa.string()),
    ("sample", pa.int32()),
    ("faults", pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), *_FAULT]))),
    ("unplaced", pa.list_(pa.struct([*_FAULT, ("why", pa.string())]))),
    ("asked_again", pa.int32()),
    ("problem", pa.string()),
    ("refused", pa.bool_()),
    ("reply", pa.string()),
    ("attempts", pa.int32()),
    ("tokens_in", pa.int64()),
    ("tokens_out", pa.int64()),
    ("same_as_row", pa.int64()),
]
CRITIQUES_SCHEMA: Final = pa.schema(_CRITIQUE_COLUMNS)
"""Config ``critiques``: one row per response, critic and sample. ``faults`` is null where the critique is missing, and
``same_as_row`` names the row where a response that occurs more than once was asked about."""

_BATCH: Final = 1_000


def added_fields(sides: Sequence[Side], prefix: str) -> list[pa.Field[Any]]:
    """The columns that are added to the input."""
    return [
        *(pa.field(f"{prefix}{side}_spans", SPANS_TYPE) for side in sides),
        pa.field(f"{prefix}critique_notes", pa.list_(pa.string())),
        pa.field(f"{prefix}critique_row", pa.int64()),
    ]


def prepare(path: Path, plan: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make ``path`` a directory to which critiques for ``plan`` can be added.

    Raises:
        OutputExistsError: it contains other files, or critiques for another plan and ``overwrite`` is false.
    """
    files = (MANIFEST_NAME, CARD_NAME, *FILES.values())
    prepare_directory(path, JOURNAL_NAME, plan, CRITIC.answers, files, overwrite=overwrite)


def write_data(
    path: Path, rows: Iterable[tuple[Mapping[str, Any], Sequence[Any]]], schema: pa.Schema, added: list[pa.Field[Any]]
) -> FileRecord:
    """Write the config ``default``.

    Args:
        path: the directory.
        rows: each input row, and the values of the added columns.
        schema: the input's.
        added: the added columns.
    """
    whole = with_added(schema, added)

    def tables() -> Iterator[pa.Table]:
        iterator = iter(rows)
        while group := list(islice(iterator, _BATCH)):
            table = to_arrow([record for record, _ in group], schema)
            columns = [pa.array(values, field.type) for field, values in zip(added, zip(*(v for _, v in group)))]  # noqa: B905
            yield pa.Table.from_arrays([*table.columns, *columns], schema=whole)

    return commit_parquet(path / FILES["default"], tables(), whole, root=path)


def write_records(path: Path, config: str, records: Iterable[Mapping[str, Any]], schema: pa.Schema) -> FileRecord:
    """Write a config of plain records."""

    def batches() -> Iterator[pa.RecordBatch]:
        iterator = iter(records)
        while group := list(islice(iterator, _BATCH)):
            arrays = [pa.array([record[field.name] for record in group], type=field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return commit_parquet(path / FILES[config], batches(), schema, root=path)


def write_rejects(path: Path, rejects: Sequence[RejectedRow]) -> FileRecord | None:
    """Write the config ``rejects``, or remove it where there is none."""
    if not rejects:
        (path / FILES["rejects"]).unlink(missing_ok=True)
        return None
    records = ({"asr_row": row.index, "code": row.code, "message": row.message} for row in rejects)
    return write_records(path, "rejects", records, REJECTS_SCHEMA)


def write_description(
    path: Path,
    content: Mapping[str, Any],
    found: Figures,
    files: Mapping[str, FileRecord],
    schemas: Mapping[str, pa.Schema],
) -> None:
    """Write the card, then ``critique.json``.

    Args:
        path: the directory.
        content: of ``critique.json``, without figures and files.
        found: the figures.
        files: config to file.
        schemas: config to schema.
    """
    described = {**content, "figures": as_record(found), "files": [record.model_dump() for record in files.values()]}
    commit_bytes(path / CARD_NAME, card(described, found, files, schemas).encode())
    commit_bytes(path / MANIFEST_NAME, (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode())


def remove_manifest(path: Path) -> None:
    """Remove ``critique.json`` before the files that it describes change."""
    (path / MANIFEST_NAME).unlink(missing_ok=True)
