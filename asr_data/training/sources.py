"""Reading training data: preference pairs, error spans, step labels and sentence scores.

The kind of a source is declared, never guessed. Rows are read one by one; a row that cannot be used is left
out and counted under the reason, and the log (level INFO) names the file, the row and what is wrong.

* ``preference``: ``prompt``, ``chosen``, ``rejected``, or two hh-rlhf transcripts. Gives pairs.
* ``spans``: a preference pair with ``labelled_side`` and that side's ``error_spans``, or with the rejected
  side's ``fault_spans``. Gives pairs and labels.
* ``steps``: ``prompt``, ``chosen`` and ``rejected`` as lists of steps, ``rejected_error_steps`` (PRMBench);
  or ``prompt``, ``completions``, ``labels`` (TRL stepwise). Gives labels.
* ``sentence_scores``: ``prompt``, ``completion``, ``scores``. Gives labels.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from asr_data.errors import ConfigError, InputError
from asr_data.training.examples import LabelledExample, PreferenceExample, response_text
from asr_data.training.fields import UnusableRow, as_fields
from asr_data.training.layouts import (
    ReadOptions,
    RowExamples,
    read_preference,
    read_sentence_scores,
    read_spans,
    read_steps,
)

logger = logging.getLogger(__name__)

SourceKind: TypeAlias = Literal["preference", "spans", "steps", "sentence_scores"]

_LAYOUTS: Mapping[str, Callable[[Mapping[str, Any], ReadOptions], RowExamples]] = {
    "preference": read_preference,
    "spans": read_spans,
    "steps": read_steps,
    "sentence_scores": read_sentence_scores,
}


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What one source gave.

    Attributes:
        preferences: pairs, in row order.
        labelled: labelled responses, in row order, each response of a prompt once.
        skipped: rows that were left out, by reason.
        rows: rows read, the skipped ones among them.
        repeated: labelled responses that were left out because an equal one (same prompt, text and labels)
            came before; the pairs of one question often share an answer.
    """

    preferences: list[PreferenceExample] = field(default_factory=list)
    labelled: list[LabelledExample] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    repeated: int = 0


def read_source(
    kind: SourceKind,
    path: str | Path,
    name: str | None = None,
    score_range: tuple[float, float] = (0.0, 4.0),
    first_error_only: bool = False,
) -> SourceResult:
    """Read one file of training data.

    Args:
        kind: layout of the rows; see the module.
        path: ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.
        name: name of the source in examples and reports; default the file's folder and name without suffix.
        score_range: lowest and highest sentence score, where a row does not declare ``score_min`` and
            ``score_max``; mapped to targets 0 and 1.
        first_error_only: labels after a response's first bad step are unknown, and become none. Rows that
            only mark a first error (``first_error_step``) are always read so.

    Returns:
        The examples, and counts of what was left out.

    Raises:
        ConfigError: an unknown kind, or an empty score range.
        InputError: a file that is missing, of another type or cannot be read.
    """
    if kind not in _LAYOUTS:
        raise ConfigError(f"training source kind {kind!r}; allowed are {', '.join(get_args(SourceKind))}")
    if not score_range[0] < score_range[1]:
        raise ConfigError(f"score range is {score_range}; the first number must be the lower one")
    path = Path(path)
    options = ReadOptions(name or source_name(path), score_range, first_error_only)
    preferences: list[PreferenceExample] = []
    labelled: list[LabelledExample] = []
    skipped: Counter[str] = Counter()
    seen: set[int] = set()
    offered = rows = 0
    for index, row in enumerate(iterate_rows(path)):
        rows += 1
        try:
            found = _LAYOUTS[kind](as_fields(row), options)
        except UnusableRow as error:
            skipped[error.reason] += 1
            logger.info("%s, row %d: skipped, %s: %s", path, index, error.reason, error)
            continue
        preferences.extend(found.preferences)
        offered += len(found.labelled)
        labelled.extend(example for example in found.labelled if _is_new(example, seen))
    return SourceResult(preferences, labelled, dict(skipped), rows, offered - len(labelled))


def source_name(path: Path) -> str:
    """Return ``folder/file`` without suffixes: ``data/prmbench/train.jsonl.gz`` is ``prmbench/train``."""
    stem = path.name.partition(".")[0]
    folder = path.resolve().parent.name
    return f"{folder}/{stem}" if folder else stem


def iterate_rows(path: Path) -> Iterator[Any]:
    """Yield the rows of a file, one at a time; a JSON line that does not parse is yielded as its text.

    Raises:
        InputError: the file is missing, of an unknown type, or breaks off.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            yield from _json_lines(path)
        elif path.name.endswith(".parquet"):
            yield from _parquet_rows(path)
        else:
            raise InputError(f"{path}: unknown type; allowed are .jsonl, .jsonl.gz and .parquet")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        # A truncated gzip file is an EOFError; bytes that are no UTF-8 and ArrowInvalid are ValueErrors.
        raise InputError(f"{path}: cannot be read: {error}") from error


def _json_lines(path: Path) -> Iterator[Any]:
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    row = line
                yield row


def _parquet_rows(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def _is_new(example: LabelledExample, seen: set[int]) -> bool:
    """Return whether no equal example was seen, and remember this one.

    Sixty-four bits of hash stand for the example: the texts themselves would double the memory in use.
    """
    response = example.response
    turns = tuple((message["role"], message["content"]) for message in example.prompt)  # type: ignore[index]
    key = hash((turns, response_text(response.content), response.labels))
    if key in seen:
        return False
    seen.add(key)
    return True
