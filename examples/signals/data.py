"""The labelled data of the bench, each data set as one JSONL file of at most so many pairs."""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asr_data.sample import sample_path
from asr_data.training.examples import group_of
from asr_data.training.split import hold_out

HELD_OUT: Final = 0.5
"""Share of the groups that the built-in model's training held out (``asr_data/scoring/builtin/README.md``)."""
SEED: Final = 17
"""Of that split, and of the pairs drawn here."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One labelled data set.

    Attributes:
        name: of its files.
        title: for tables.
        files: below the data folder; none for the shipped sample.
        gold: as ``asr-annotate evaluate --gold`` takes it.
        group: the column whose rows belong together; None for the prompt.
        trained: whether the built-in model was trained on it; its figures are then of what its training held out.
    """

    name: str
    title: str
    files: tuple[str, ...]
    gold: str
    group: str | None = "group"
    trained: bool = False


_BOTH: Final = "chosen=chosen_spans,rejected=rejected_spans"

_ENGLISH: Final = ("wmt-mqm/news-zhen.jsonl.gz", "wmt-mqm/ted-zhen.jsonl.gz")
_GERMAN: Final = ("wmt-mqm/news-ende.jsonl.gz", "wmt-mqm/ted-ende.jsonl.gz")
_HUMAN: Final = ("finegrained-rlhf/pairs.jsonl.gz",)

DATA_SETS: Final = (
    DataSet("steps", "PRMBench test, faulty steps", ("prmbench/test.jsonl.gz",), "rejected_error_steps", None),
    DataSet("human", "FineGrainedRLHF, human spans", _HUMAN, "error_spans", None, trained=True),
    DataSet("english", "MQM, Chinese to English", _ENGLISH, _BOTH, trained=True),
    DataSet("german", "MQM, English to German", _GERMAN, _BOTH, trained=True),
    DataSet("first", "Mr-Ben, first faulty step", ("mr-ben/first-error.jsonl.gz",), _BOTH),
    DataSet("code", "HumanEvalPack, changed lines", ("humanevalpack/bugs.jsonl.gz",), _BOTH, trained=True),
    DataSet("sample", "the shipped sample", (), "fault_spans"),
)


@dataclass(frozen=True, slots=True)
class _Group:
    group: str


def was_held_out(data: DataSet, group: str) -> bool:
    """Whether the built-in model's training held this group of the prepared file out; true where it saw none of it."""
    named = group if data.group is None else group_of(f"{data.group}={group}")  # as train-scorer's ``group=`` does
    return not data.trained or bool(hold_out([_Group(named)], HELD_OUT, SEED)[1])


def prepare(data: DataSet, folder: Path, work: Path, pairs: int, *, held_out: bool = False) -> Path:
    """Write ``work/NAME.jsonl``, at most ``pairs`` rows spread over groups. Done once.

    Every row gets a column ``group``; of the data sets without one, it is the normalised prompt, or PRMBench's problem,
    which is asked in several wordings.

    Args:
        data: which.
        folder: that of all data.
        work: where to.
        pairs: rows at most.
        held_out: of a data set that the built-in model was trained on, take only groups that were held out.
    """
    target = work / f"{data.name}.jsonl"
    if not target.is_file():
        rows = [{**row, "group": _group(data, row)} for row in _rows(data, folder)]
        rows = [row for row in rows if not held_out or was_held_out(data, row["group"])]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in drawn(rows, pairs)]
        target.write_text("".join(lines), encoding="utf-8")
    return target


def drawn(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """One row of every group in random order, then a second of each, and so on up to ``count``; in the data's order."""
    shuffled = random.Random(SEED).sample(range(len(rows)), len(rows))  # noqa: S311 - not for secrets
    seen: Counter[str] = Counter()
    rank = {}
    for index in shuffled:
        group = rows[index]["group"]
        rank[index] = seen[group]
        seen[group] += 1
    return [rows[index] for index in sorted(sorted(shuffled, key=rank.__getitem__)[:count])]


def _group(data: DataSet, row: Mapping[str, Any]) -> str:
    if "error_type" in row:
        return group_of(row["id"].removesuffix(f"-{row['error_type']}"))
    prompt = row["prompt"]
    text = prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)
    return str(row["group"]) if data.group in row else group_of(text)


def _rows(data: DataSet, folder: Path) -> Iterator[dict[str, Any]]:
    if not data.files:
        yield from map(json.loads, sample_path().read_text(encoding="utf-8").splitlines())
    for name in data.files:
        path = folder / name
        if not path.is_file():
            sys.exit(f"{path}: no such file; --data names the folder that holds it")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
