"""The output directory: a data set of pairs and verdicts, a card, and ``judge.json``, which is written last."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from asr_data.endpoints.journal import prepare as prepare_directory
from asr_data.judging.card import card
from asr_data.judging.config import JUDGE
from asr_data.judging.expert import PILE_NAME, write_pile
from asr_data.judging.figures import Figures
from asr_data.judging.journal import JOURNAL_NAME, Verdict
from asr_data.judging.votes import Outcome
from asr_data.storage.commit import commit_bytes, commit_parquet
from asr_data.types import RejectedRow
from asr_data_schemas import REJECTS_SCHEMA

MANIFEST_NAME: Final = "judge.json"
CARD_NAME: Final = "README.md"
FILES: Final = {
    "default": "data/train-00000.parquet",
    "verdicts": "verdicts/train-00000.parquet",
    "rejects": "rejects/train-00000.parquet",
}
"""Config of the data set to its file; ``rejects`` only if there are any."""

_PAIR_COLUMNS: Final[list[tuple[str, pa.DataType]]] = [
    ("row", pa.int64()),
    ("prompt", pa.string()),
    ("first", pa.string()),
    ("second", pa.string()),
    ("reference", pa.string()),
    ("as_given", pa.list_(pa.string())),
    ("swapped", pa.list_(pa.string())),
    ("votes", pa.list_(pa.string())),
    ("majority", pa.string()),
    ("undecided", pa.bool_()),
    ("expert", pa.string()),
    ("decision", pa.string()),
]
PAIRS_SCHEMA: Final = pa.schema(_PAIR_COLUMNS)
"""Config ``default``: one row per pair. ``as_given`` and ``swapped`` have one item per judge, ``votes`` one per voter:
judges, then columns of people's votes, in the order of ``voters`` in ``judge.json``."""

_VERDICT_COLUMNS: Final[list[tuple[str, pa.DataType]]] = [
    ("row", pa.int64()),
    ("judge", pa.string()),
    ("order", pa.string()),
    ("verdict", pa.string()),
    ("safety", pa.string()),
    ("accuracy", pa.string()),
    ("helpfulness", pa.string()),
    ("tags", pa.list_(pa.string())),
    ("reason", pa.string()),
    ("problem", pa.string()),
    ("reply", pa.string()),
    ("attempts", pa.int32()),
    ("tokens_in", pa.int64()),
    ("tokens_out", pa.int64()),
]
VERDICTS_SCHEMA: Final = pa.schema(_VERDICT_COLUMNS)
"""Config ``verdicts``: one row per verdict requested."""

_BATCH = 1_000


def prepare(path: Path, plan: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make ``path`` a directory to which verdicts for ``plan`` can be added.

    Raises:
        OutputExistsError: it contains other files, or verdicts for another plan and ``overwrite`` is false.
    """
    files = (MANIFEST_NAME, CARD_NAME, PILE_NAME, *FILES.values())
    prepare_directory(path, JOURNAL_NAME, plan, JUDGE.answers, files, overwrite=overwrite)


def remove_manifest(path: Path) -> None:
    """Remove ``judge.json`` before the files that it describes change."""
    (path / MANIFEST_NAME).unlink(missing_ok=True)


def finish(
    path: Path,
    content: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    verdicts: Iterable[Verdict],
    rejects: Sequence[RejectedRow],
    found: Figures,
) -> None:
    """Write every file that is derived from the journal.

    Args:
        path: the directory.
        content: of ``judge.json``, without figures and files.
        outcomes: the pairs in input order.
        verdicts: in order of row, judge and order.
        rejects: input rows that are not pairs.
        found: the figures.
    """
    remove_manifest(path)
    tables = {
        "default": (PAIRS_SCHEMA, map(_pair_record, outcomes)),
        "verdicts": (VERDICTS_SCHEMA, (verdict.model_dump() for verdict in verdicts)),
    }
    if rejects:
        records = ({"asr_row": row.index, "code": row.code, "message": row.message} for row in rejects)
        tables["rejects"] = (REJECTS_SCHEMA, records)
    else:
        (path / FILES["rejects"]).unlink(missing_ok=True)
    files = {
        name: commit_parquet(path / FILES[name], _batches(records, schema), schema, root=path)
        for name, (schema, records) in tables.items()
    }
    write_pile(path, outcomes)
    described = {
        **content,
        "figures": asdict(found),
        "files": [record.model_dump() for record in files.values()],
    }
    schemas = {name: schema for name, (schema, _) in tables.items()}
    commit_bytes(path / CARD_NAME, card(described, found, files, schemas).encode())
    commit_bytes(path / MANIFEST_NAME, (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode())


def _pair_record(outcome: Outcome) -> dict[str, Any]:
    pair = outcome.pair
    return {
        "row": pair.index,
        "prompt": pair.prompt,
        "first": pair.first,
        "second": pair.second,
        "reference": pair.reference,
        "as_given": outcome.as_given,
        "swapped": outcome.swapped,
        "votes": outcome.votes,
        "majority": outcome.majority,
        "undecided": outcome.majority is None,
        "expert": outcome.expert,
        "decision": outcome.decision,
    }


def _batches(records: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    iterator = iter(records)
    while group := list(islice(iterator, _BATCH)):
        arrays = [pa.array([record[field.name] for record in group], type=field.type) for field in schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
