"""Checks that an output directory is what its manifest and the contract say, down to every row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asr_data.errors import CorruptFileError
from asr_data.storage.checks import Finding, data_findings, logprob_findings, may_be_unknown, score_findings
from asr_data.storage.commit import FileRecord, check_file, file_sha256
from asr_data.storage.manifest import CARD_NAME, MANIFEST_NAME, Manifest, load_manifest
from asr_data.storage.pair_account import pair_faults
from asr_data.storage.plan import type_name
from asr_data.storage.reader import read_batches
from asr_data.storage.row_keys import row_keys, rows_of
from asr_data.storage.work import WORK_NAME
from asr_data.types import Bool, Int64
from asr_data_schemas import NOTE_CODES, REJECT_CODES

_BATCH_ROWS: Final = 1_000
_CONFIGS: Final = ("data", "scores", "rejects")
_OPTIONAL: Final = ("logprobs",)
_OF_ROWS: Final = ("scores", "logprobs")


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
    """What the rows read so far add up to. One byte per input row; where that can be several rows, their keys, too."""

    data: Bool
    scores: Bool
    rejects: Bool
    logprobs: Bool
    keys: dict[str, list[Int64]] = field(default_factory=lambda: defaultdict(list))
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
    last_key = dict.fromkeys((*_CONFIGS, *_OPTIONAL), -1)
    for record in manifest.files:
        config = record.path.partition("/")[0]
        try:
            file = check_file(path, record)
            problems += _file_problems(file, record, manifest)
            found, last_key[config] = _row_problems(file, record, manifest, seen, last_key[config])
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
    if counts.annotated + counts.rejected != counts.entries:
        yield Problem(
            MANIFEST_NAME,
            None,
            f"{counts.annotated} annotated and {counts.rejected} rejected rows do not make {counts.entries}",
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
    path: Path, record: FileRecord, manifest: Manifest, seen: _Seen, last_key: int
) -> tuple[list[Problem], int]:
    """Problems of the rows of one file, one per kind, and the last row's key."""
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
            return [Problem(record.path, None, "asr_row holds nulls")], last_key
        rows: Int64 = index.to_numpy()
        keys = row_keys(batch, prefix)
        findings = [*_order(rows, keys, last_key, getattr(seen, config)), *check[config](batch)]
        if manifest.plan.several_pairs:
            findings += _pairs(batch.column(f"{prefix}asr_pair"), rows, keys, whole_rows=config == "rejects")
            seen.keys[config].append(keys)
        for message, bad in findings:
            for row in rows[bad]:
                first.setdefault(message, int(row))
                number[message] += 1
        last_key = int(keys[-1]) if len(keys) else last_key
    return [
        Problem(record.path, row, message + (f" (so in {number[message]} rows)" if number[message] > 1 else ""))
        for message, row in first.items()
    ], last_key


def _order(rows: Int64, keys: Int64, last_key: int, seen: Bool) -> Iterator[Finding]:
    """Notes the rows as seen."""
    yield "asr_row does not increase", np.diff(keys, prepend=last_key) <= 0
    outside = (rows < 0) | (rows >= len(seen))
    yield f"asr_row is outside the input's {len(seen)} rows", outside
    seen[rows[~outside]] = True


def _pairs(pair: pa.Array[Any], rows: Int64, keys: Int64, *, whole_rows: bool) -> Iterator[Finding]:
    """``whole_rows``: an entry may be a whole row, which has no pair."""
    if not whole_rows:
        yield "asr_pair is null", np.asarray(pair.is_null())
    negative = np.asarray(pair.fill_null(0).to_numpy()) < 0
    yield "asr_pair is not a pair's number", negative | (rows_of(keys) != rows)


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


def _keys(seen: _Seen, config: str) -> Int64:
    return np.concatenate([np.zeros(0, dtype=np.int64), *seen.keys[config]])


def _flags(rows: Int64, count: int) -> Bool:
    """True at these of ``count`` rows; others are reported where they stand."""
    flags = np.zeros(count, dtype=bool)
    flags[rows[(rows >= 0) & (rows < count)]] = True
    return flags


def _account(manifest: Manifest, seen: _Seen) -> Iterator[Problem]:
    """Each input row once, and the manifest's counts."""

    def first(bad: Bool, message: str) -> Iterator[Problem]:
        if bad.any():
            yield Problem(MANIFEST_NAME, int(bad.argmax()), f"{message} (so in {int(bad.sum())} rows)")

    yield from first(~(seen.data | seen.rejects), "row is neither annotated nor rejected")
    annotated, rejected = int(seen.data.sum()), int(seen.rejects.sum())
    if manifest.plan.several_pairs:
        data, rejects = (_keys(seen, config) for config in ("data", "rejects"))
        annotated, rejected = len(data), len(rejects)
        for message, rows in pair_faults(manifest.plan.layout.pairs.rule, data, rejects):
            yield from first(_flags(rows, len(seen.data)), message)
        lacking = {
            config: _flags(rows_of(np.setdiff1d(data, _keys(seen, config))), len(seen.data)) for config in _OF_ROWS
        }
    else:
        yield from first(seen.data & seen.rejects, "row is both annotated and rejected")
        lacking = {config: seen.data & ~getattr(seen, config) for config in _OF_ROWS}
    yield from first(lacking["scores"], "row is annotated, but has no scores")
    if manifest.reference is not None:
        yield from first(lacking["logprobs"], "row is annotated, but has no entry in logprobs/")
    counts = manifest.counts
    for name, listed, found in (
        ("annotated", counts.annotated, annotated),
        ("rejected", counts.rejected, rejected),
        ("notes", counts.notes, dict(seen.notes)),
        ("rejects", counts.rejects, dict(seen.codes)),
    ):
        if listed != found:
            yield Problem(MANIFEST_NAME, None, f"counts.{name} is {listed}, but the files have {found}")
    unknown = sorted({note.partition(":")[0] for note in seen.notes} - set(NOTE_CODES))
    if unknown:
        yield Problem(MANIFEST_NAME, None, f"asr_notes holds {', '.join(unknown)}, which the contract does not know")
