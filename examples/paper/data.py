"""The data of the experiment: inputs, the parts that settings are chosen on and judged on, and scored directories."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_data.evaluation.sweep import half_of
from asr_data.training.examples import group_of
from asr_data.training.split import hold_out

HELD_OUT, SEED = 0.15, 17
"""Questions that the training of every built-in scorer so far held out, or a part of them
(``asr_data/scoring/builtin/README.md``)."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set of the experiment.

    Attributes:
        name: of its files.
        title: for tables and figures.
        gold: the column of its labels; None where it has none.
    """

    name: str
    title: str
    gold: str | None


FINEGRAINED = DataSet("fg", "FineGrainedRLHF (human spans)", "error_spans")
PRMBENCH = DataSet("prm", "PRMBench test (faulty steps)", "rejected_error_steps")
HH = DataSet("hh", "hh-rlhf harmless (pairs alone)", None)
LABELLED = (FINEGRAINED, PRMBENCH)


@dataclass(frozen=True, slots=True)
class _Question:
    group: str


def judged(data: DataSet, group: str) -> bool:
    """Whether figures are from this question; on the others, settings are chosen.

    FineGrainedRLHF is judged on the questions that were held out from the scorer's training. No problem of PRMBench's
    test file was trained on: half of them choose, half judge.
    """
    return bool(half_of([group])[0]) if data is PRMBENCH else was_held_out(group)


def was_held_out(group: str) -> bool:
    """Whether the built-in scorer's training held this group out."""
    return bool(hold_out([_Question(group)], HELD_OUT, SEED)[1])


def prepare(data: Path, work: Path) -> None:
    """Write the inputs with a column ``group``, the question. Of hh-rlhf only the held-out part is taken."""
    files = {
        "fg": (data / "finegrained-rlhf/pairs.jsonl.gz", _finegrained),
        "prm": (data / "prmbench/test.jsonl.gz", _prmbench),
        "hh": (data / "hh-rlhf/harmless-base-test.jsonl.gz", _hh),
    }
    for name, (source, change) in files.items():
        target = work / f"{name}.jsonl"
        if not source.is_file():
            sys.exit(f"{source}: no such file; --data names the folder that holds it")
        if not target.is_file():
            rows = [change(row) for row in _rows(source)]
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row is not None]
            target.write_text("".join(lines), encoding="utf-8")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _finegrained(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "group": group_of(row["prompt"])}


def _as_turns(row: dict[str, Any]) -> dict[str, Any]:
    """Texts as a conversation: the DPO pair was trained on turns, and its preset reads texts as they stand."""
    turns = {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    return {**row, **turns, "prompt": [{"role": "user", "content": row["prompt"]}]}


def _prmbench(row: dict[str, Any]) -> dict[str, Any]:
    group = row["id"].removesuffix(f"-{row['error_type']}")
    return {**row, "group": group}


def _hh(row: dict[str, Any]) -> dict[str, Any] | None:
    question = row["chosen"].split("\n\nHuman:")[1].split("\n\nAssistant:")[0]
    group = group_of(question)
    return {**row, "group": group} if was_held_out(group) else None


@dataclass(frozen=True, slots=True)
class DpoPair:
    """What the scorer ``implicit`` takes.

    Attributes:
        policy: a policy trained with DPO.
        reference: what it was trained from.
        rows: of PRMBench so many judged rows at most: two models over the whole vocabulary take their time. Of
            FineGrainedRLHF, whose responses are short, all judged rows are taken.
    """

    policy: Path
    reference: Path
    rows: int


def score(work: Path, data: DataSet, scorer: str, pair: DpoPair | None = None) -> Path:
    """The data set with rewards and masks, made by the command line where it is not there yet."""
    source, output = work / f"{data.name}.jsonl", work / f"{data.name}-{scorer}"
    options = {
        "builtin": [],
        "labels": ["--kind", "labels", "--tokenizer", "builtin"],
        "implicit": [] if pair is None else ["--model", str(pair.policy), "--reference", str(pair.reference)],
    }[scorer]
    if not (output / "asr.json").is_file():
        if scorer == "implicit" and pair is not None:
            options += ["--preset", "dpo-pair"]
            source = some_judged(source, data, pair.rows if data is PRMBENCH else None)
        program = [sys.executable, "-c", "from asr_data_cli.app import main; main()"]
        command = ["run", str(source), "-o", str(output), "--overwrite", *options]
        subprocess.run([*program, *command], check=True)
    return output


def some_judged(source: Path, data: DataSet, count: int | None) -> Path:
    """A file of the judged rows, or of so many of them, drawn by chance, as the DPO pair reads them."""
    target = source.with_name(f"{data.name}-judged.jsonl")
    with source.open(encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if judged(data, row["group"])]
    drawn = random.Random(SEED).sample(range(len(rows)), min(count or len(rows), len(rows)))  # noqa: S311 - not for secrets
    change = _as_turns if data is FINEGRAINED else dict
    chosen = [json.dumps(change(rows[place]), ensure_ascii=False) + "\n" for place in sorted(drawn)]
    target.write_text("".join(chosen), encoding="utf-8")
    return target
