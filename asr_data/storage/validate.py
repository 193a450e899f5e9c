"""Checks that an output directory is what its manifest and the contract say, down to every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asr_data.errors import CorruptFileError
from asr_data.storage.checks import Finding, data_findings, logprob_findings, may_be_unknown, score_findings
from asr_data.storage.commit import FileRecord, check_file, file_sha256
from asr_data.storage.manifest import CARD_NAME, MANIFEST_NAME, Manifest, load_manifest
from asr_data.storage.plan import type_name
from asr_data.storage.reader import read_batches
from asr_data.storage.work import WORK_NAME
from asr_data.types import Bool, Int64
from asr_data_schemas import NOTE_CODES, REJECT_CODES

_BATCH_ROWS: Final = 1_000
_CONFIGS: Final = ("data", "scores", "rejects")
_OPTIONAL: Final = ("logprobs",)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an output directory.

    Attributes:
        file: relative to the directory.
        row: the first ``asr_row`` it concerns, or None where it concerns the whole file.
        message: what is wrong.
    """

    file: str
    row: int | None
    message: str


@dataclass
class _Seen:
    """What the rows read so far add up to. One byte per input row."""

    data: Bool
    scores: Bool
    rejects: Bool
    logprobs: Bool
    notes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)


def validate(path: Path) -> list[Problem]:
    """Everything that is wrong with an output directory; empty when all is well.

    Checks the manifest, the card, the presence, size, SHA-256, row count and schema of every file, that no file is
    extra, that each input row is annotated or rejected exactly once and in order, and every row's lists
    against each other. Reads batch by batch.
    """
    try:
        manifest = load_manifest(path)
    except CorruptFileError as error:
        return [Problem(MANIFEST_NAME, None, str(error))]
    problems = [*_extra_files(path, manifest), *_manifest_problems(manifest), *_card_problems(path, manifest)]
    most = _most_rows(path, manifest)
    sound = manifest.input.rows <= most  # else the manifest is made up, and may claim any number
    if not sound:
        problems.append(
            Problem(MANIFEST_NAME, None, f"input.rows is {manifest.input.rows}, more than the files can hold")
        )
    data, scores, rejects, logprobs = (np.zeros(min(manifest.input.rows, most), dtype=bool) for _ in range(4))
    seen = _Seen(data, scores, rejects, logprobs)
    last_row = dict.fromkeys((*_CONFIGS, *_OPTIONAL), -1)
    for record in manifest.files:
        config = record.path.partition("/")[0]
        try:
            file = check_file(path, record)
            problems += _file_problems(file, record, manifest)
            found, last_row[config] = _row_problems(file, record, manifest, seen, last_row[config])
            problems += found
        except (CorruptFileError, _UnreadableSchemaError) as error:
            sound = False
            problems.append(Problem(record.path, None, str(error)))
    return [*problems, *_account(manifest, seen)] if sound else problems


def _most_rows(path: Path, manifest: Manifest) -> int:
    """No fewer rows than the files can hold: an index takes more than a bit, compressed."""
    files = [path / record.path for record in manifest.files]
    return 8 * sum(file.stat().st_size for file in files if file.is_file())


class _UnreadableSchemaError(Exception):
    """The rows of a file cannot be checked, because its columns are not the contract's."""


def _extra_files(path: Path, manifest: Manifest) -> Iterator[Problem]:
    listed = {record.path for record in manifest.files}
    if len(listed) != len(manifest.files):
        yield Problem(MANIFEST_NAME, None, "lists a file twice")
    if (path / WORK_NAME).exists():
        yield Problem(WORK_NAME, None, "left by a run that did not finish; repeat the command to resume it")
    for file in sorted(path.rglob("*.parquet")):
        name = file.relative_to(path).as_posix()
        if name not in listed and not name.startswith(f"{WORK_NAME}/"):
            yield Problem(name, None, "is not in the manifest")


def _manifest_problems(manifest: Manifest) -> Iterator[Problem]:
    counts = manifest.counts
    for record in manifest.files:
        if record.path.partition("/")[0] not in (*_CONFIGS, *_OPTIONAL):
            yield Problem(record.path, None, "lies in none of the folders data/, scores/, logprobs/, rejects/")
    for config in _CONFIGS:
        if not any(record.path.startswith(f"{config}/") for record in manifest.files):
            yield Problem(MANIFEST_NAME, None, f"lists no file in {config}/")
    if counts.rows != manifest.input.rows:
        yield Problem(MANIFEST_NAME, None, f"counts {counts.rows} rows, but the input has {manifest.input.rows}")
    if counts.annotated + counts.rejected != counts.rows:
        yield Problem(
            MANIFEST_NAME,
            None,
            f"{counts.annotated} annotated and {counts.rejected} rejected rows do not make {counts.rows}",
        )


def _card_problems(path: Path, manifest: Manifest) -> Iterator[Problem]:
    card = path / CARD_NAME
    if manifest.card_sha256 is None:
        yield Problem(MANIFEST_NAME, None, f"has no SHA-256 of {CARD_NAME}")
    elif not card.is_file():
        yield Problem(CARD_NAME, None, "missing")
    elif file_sha256(card) != manifest.card_sha256:
        yield Problem(CARD_NAME, None, "the file changed: it is not the card that was written")


def _file_problems(path: Path, record: FileRecord, manifest: Manifest) -> Iterator[Problem]:
    try:
        with pq.ParquetFile(path) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
    except (OSError, pa.ArrowException) as error:
        raise CorruptFileError(f"{path}: cannot be read: {error}") from error
    if rows != record.rows:
        yield Problem(record.path, None, f"holds {rows} rows, but the manifest says {record.rows}")
    wanted = manifest.columns_of(record)
    found = {column.name: type_name(column.type) for column in schema}
    if list(found) != list(wanted) or len(schema) != len(wanted):
        raise _UnreadableSchemaError(f"columns are {schema.names}, but must be {list(wanted)}")
    wrong = [name for name, kind in wanted.items() if found[name] != kind]
    if wrong:
        listed = ", ".join(f"{name} is {found[name]}, must be {wanted[name]}" for name in wrong)
        raise _UnreadableSchemaError(f"column types are not the contract's: {listed}")


def _row_problems(
    path: Path, record: FileRecord, manifest: Manifest, seen: _Seen, last_row: int
) -> tuple[list[Problem], int]:
    """Problems of the rows of one file, one per kind, and the last row's index."""
    config = record.path.partition("/")[0]
    check: dict[str, Callable[[pa.RecordBatch], Iterator[Finding]]] = {
        "data": lambda batch: _data(batch, manifest, seen),
        "scores": lambda batch: score_findings(batch, manifest.sides, partial=may_be_unknown(manifest, "scores")),
        "logprobs": lambda batch: logprob_findings(batch, "", manifest.sides),
        "rejects": lambda batch: _rejects(batch, seen),
    }
    prefix = manifest.prefix if config == "data" else ""
    first: dict[str, int] = {}
    number: Counter[str] = Counter()
    for batch in read_batches(path, _BATCH_ROWS):
        index = batch.column(f"{prefix}asr_row")
        if index.null_count:
            return [Problem(record.path, None, "asr_row holds nulls")], last_row
        rows: Int64 = index.to_numpy()
        findings = [*_order(rows, last_row, getattr(seen, config)), *check[config](batch)]
        for message, bad in findings:
            for row in rows[bad]:
                first.setdefault(message, int(row))
                number[message] += 1
        last_row = int(rows[-1]) if len(rows) else last_row
    return [
        Problem(record.path, row, message + (f" (so in {number[message]} rows)" if number[message] > 1 else ""))
        for message, row in first.items()
    ], last_row


def _order(rows: Int64, last_row: int, seen: Bool) -> Iterator[Finding]:
    """Notes the rows as seen."""
    yield "asr_row does not increase", np.diff(rows, prepend=last_row) <= 0
    outside = (rows < 0) | (rows >= len(seen))
    yield f"asr_row is outside the input's {len(seen)} rows", outside
    seen[rows[~outside]] = True


def _data(batch: pa.RecordBatch, manifest: Manifest, seen: _Seen) -> Iterator[Finding]:
    notes = batch.column(f"{manifest.prefix}asr_notes")
    seen.notes.update(note for row in notes.to_pylist() for note in row or () if note is not None)
    yield from data_findings(batch, manifest)


def _rejects(batch: pa.RecordBatch, seen: _Seen) -> Iterator[Finding]:
    codes, messages = batch.column("code"), batch.column("message")
    seen.codes.update(code for code in codes.to_pylist() if code is not None)
    known = pc.is_in(codes, value_set=pa.array(list(REJECT_CODES)))
    yield "code is not one of the contract's", ~np.asarray(known)
    yield "message is null", np.asarray(pc.is_null(messages))


def _account(manifest: Manifest, seen: _Seen) -> Iterator[Problem]:
    """Each input row once, and the manifest's counts."""

    def first(bad: Bool, message: str) -> Iterator[Problem]:
        if bad.any():
            yield Problem(MANIFEST_NAME, int(bad.argmax()), f"{message} (so in {int(bad.sum())} rows)")

    yield from first(~(seen.data | seen.rejects), "row is neither annotated nor rejected")
    yield from first(seen.data & seen.rejects, "row is both annotated and rejected")
    yield from first(seen.data & ~seen.scores, "row is annotated, but has no scores")
    if manifest.reference is not None:
        yield from first(seen.data & ~seen.logprobs, "row is annotated, but has no entry in logprobs/")
    counts = manifest.counts
    for name, listed, found in (
        ("annotated", counts.annotated, int(seen.data.sum())),
        ("rejected", counts.rejected, int(seen.rejects.sum())),
        ("notes", counts.notes, dict(seen.notes)),
        ("rejects", counts.rejects, dict(seen.codes)),
    ):
        if listed != found:
            yield Problem(MANIFEST_NAME, None, f"counts.{name} is {listed}, but the files have {found}")
    unknown = sorted({note.partition(":")[0] for note in seen.notes} - set(NOTE_CODES))
    if unknown:
        yield Problem(MANIFEST_NAME, None, f"asr_notes holds {', '.join(unknown)}, which the contract does not know")
